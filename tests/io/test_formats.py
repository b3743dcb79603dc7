from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

import concerto
from concerto import ConcertoError, InputError, PointCloud
from conftest import random_cloud

FORMATS = ["ply", "npz"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fields", [(), ("color",), ("normal",), ("color", "normal")])
def test_what_is_written_is_read_back(
    tmp_path: Path, suffix: str, dtype: torch.dtype, fields: tuple[str, ...]
) -> None:
    whole = random_cloud(200)
    coord = whole.coord.to(dtype) + torch.tensor([5e5, 5e6, 0], dtype=dtype)
    cloud = PointCloud(coord, **{field: getattr(whole, field) for field in fields})
    file = tmp_path / "new" / f"scan.{suffix}"
    concerto.write(file, cloud)
    again = concerto.read(file)
    assert again.coord.dtype == dtype
    assert torch.equal(again.coord, coord)
    for field in ("color", "normal"):
        if field not in fields:
            assert getattr(again, field) is None
            continue
        rounding = 0.5 / 255 if field == "color" and suffix == "ply" else 1e-6
        assert torch.allclose(getattr(again, field), getattr(whole, field), atol=rounding + 1e-6)
    assert [p.name for p in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("layout", ["ascii", "<", ">"])
def test_every_ply_layout_is_read(tmp_path: Path, layout: str) -> None:
    vertex = np.zeros(
        5, [("x", "f4"), ("y", "f8"), ("z", "f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    )
    vertex["x"], vertex["green"] = np.arange(5), 255
    file = tmp_path / "scan.ply"
    PlyData(
        [PlyElement.describe(vertex, "vertex")],
        text=layout == "ascii",
        byte_order="=" if layout == "ascii" else layout,
    ).write(file)
    cloud = concerto.read(file)
    assert cloud.coord[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert cloud.color.tolist() == [[0, 1, 0]] * 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ply", b"", "cannot be read as PLY"),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nend_header\n1\n",
            "PLY",
        ),
        ("a.ply", b"ply\nformat ascii 1.0\nelement face 0\nend_header\n", "cannot be read as PLY"),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float u\nend_header\n1\n",
            "no properties x, y, z; its vertices have u",
        ),
        ("a.npz", b"PK\x03\x04 not a zip", "cannot be read as NPZ"),
        ("a.npz", b"", "cannot be read as NPZ"),
        ("a.xlsx", b"", r"suffix '\.xlsx'; known formats are \.ply, \.npz"),
    ],
)
def test_an_unreadable_file_gives_one_clear_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        concerto.read(tmp_path / name)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file of that name"):
        concerto.read(tmp_path / "none.ply")
    (tmp_path / "folder.ply").mkdir()
    with pytest.raises(InputError, match="a folder of that name"):
        concerto.read(tmp_path / "folder.ply")


def test_an_npz_without_coordinates_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=np.zeros((3, 3)))
    with pytest.raises(InputError, match="no array coord; it has points"):
        concerto.read(tmp_path / "a.npz")


def test_an_npz_with_a_pickle_inside_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", coord=np.array([{"x": 1}], dtype=object))
    with pytest.raises(InputError, match="cannot be read as NPZ"):
        concerto.read(tmp_path / "a.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "scan.npz"
    concerto.write(file, random_cloud(10))
    before = file.read_bytes()
    broken = PointCloud(random_cloud(10).coord, color=torch.zeros(10, 3, device="meta"))
    with pytest.raises(NotImplementedError):
        concerto.write(file, broken)
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scan.npz"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"):
        concerto.write(tmp_path / "file" / "scan.ply", random_cloud(3))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(FORMATS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.floats(0.05, 1),
)
def test_a_damaged_file_is_a_cloud_or_one_of_our_errors(
    tmp_path: Path, suffix: str, edits: list[tuple[float, int]], cut: float
) -> None:
    file = tmp_path / f"scan.{suffix}"
    concerto.write(file, random_cloud(30))
    content = bytearray(file.read_bytes())
    for place, value in edits:
        content[int(place * (len(content) - 1))] = value
    file.write_bytes(content[: int(cut * len(content))])
    with suppress(ConcertoError):
        assert len(concerto.read(file)) > 0
