"""NPY and NPZ."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import concerto
from concerto import InputError
from conftest import random_cloud

CLOUD = random_cloud(20)
PARTS = [CLOUD.coord.numpy(), CLOUD.color.numpy(), CLOUD.normal.numpy()]


def claiming(shape: str, descr: str = "'<f4'", rows: int = 0) -> bytes:
    """An array whose header says more than there is."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (117 - len(header)) + "\n"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode() + b"\0" * 12 * rows


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_by_its_width(tmp_path: Path, parts: int, order: str) -> None:
    np.save(tmp_path / "a.npy", np.asarray(np.hstack(PARTS[:parts]), order=order))
    cloud = concerto.read(tmp_path / "a.npy")
    assert torch.equal(cloud.coord, CLOUD.coord)
    assert (cloud.color is None) == (parts < 2)
    assert (cloud.normal is None) == (parts < 3)
    if parts == 3:
        assert torch.equal(cloud.color, CLOUD.color)
        assert torch.allclose(cloud.normal, CLOUD.normal)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as NPY"),
        (b"PK\x03\x04", "cannot be read as NPY"),
        (claiming("(2000000000, 3)", rows=5), "claims 24,000,000,000 bytes"),
        (claiming("(-1, 3)", rows=5), "has shape"),
        (claiming("(5, 4)", rows=9), r"shape \(5, 4\); it must be"),
        (claiming("(15,)", rows=5), r"shape \(15,\); it must be"),
        (claiming("(0, 3)"), "no points"),
        (claiming("(5, 3)", descr="'|O'", rows=5), "dtype object"),
        (claiming("(5, 3)", descr="'|b1'", rows=5), "dtype bool"),
        (claiming("(" * 60, rows=5), "cannot be read as NPY"),
    ],
)
def test_a_bad_array_gives_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=message):
        concerto.read(tmp_path / "a.npy")


def test_features_and_classes_are_arrays(tmp_path: Path) -> None:
    features, classes = torch.rand(20, 3).half(), torch.arange(20)
    concerto.write(tmp_path / "a.npz", CLOUD, features=features, classes=classes)
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["feat"].dtype == np.float16
        assert np.array_equal(archive["feat"], features.numpy())
        assert archive["class"].tolist() == classes.tolist()


def test_bfloat16_features_are_written_as_float32(tmp_path: Path) -> None:
    features = torch.rand(20, 3).bfloat16()
    concerto.write(tmp_path / "a.npz", CLOUD, features=features)
    assert np.array_equal(np.load(tmp_path / "a.npz")["feat"], features.float().numpy())


def test_an_archive_without_coordinates_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=np.zeros((3, 3)))
    with pytest.raises(InputError, match="no array coord; it has points"):
        concerto.read(tmp_path / "a.npz")


def test_a_pickle_inside_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", coord=np.array([{"x": 1}], dtype=object))
    with pytest.raises(InputError, match="dtype object"):
        concerto.read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [(claiming("(2000000000, 3)", rows=5), "claims 24,000,000,000 bytes"),
     (claiming("(3, 3)") + b"\0" * 40 * 2**20, "made to fill memory"),
     (b"", "cannot be read as NPZ")],
)  # fmt: skip
def test_a_bad_array_inside_gives_one_clear_error(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("coord.npy", content)
    with pytest.raises(InputError, match=message):
        concerto.read(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"PK\x03\x04 not a zip", b""])
def test_what_is_no_archive_gives_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as NPZ"):
        concerto.read(tmp_path / "a.npz")
