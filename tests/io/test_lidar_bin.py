import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import concerto
from concerto import InputError


def sweep(points: int, columns: int, seed: int = 0) -> np.ndarray:
    """x y z in metres, reflectance, ring."""
    random = np.random.default_rng(seed)
    table = np.empty((points, 5), np.float32)
    table[:, :3] = random.normal(0, 30, (points, 3))
    table[:, 3] = random.random(points)
    table[:, 4] = random.integers(0, 32, points)
    return table[:, :columns]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(points=st.integers(2, 200), columns=st.sampled_from([4, 5]), seed=st.integers(0, 99))
def test_columns_are_told_by_size_or_values(
    tmp_path: Path, points: int, columns: int, seed: int
) -> None:
    table = sweep(points, columns, seed)
    table.tofile(tmp_path / "a.bin")
    cloud = concerto.read(tmp_path / "a.bin")
    assert torch.equal(cloud.coord, torch.from_numpy(table[:, :3].copy()))
    assert cloud.color is None


@pytest.mark.parametrize("columns", [3, 6])
def test_columns_can_be_said(tmp_path: Path, columns: int) -> None:
    table = np.arange(7 * columns, dtype=np.float32).reshape(7, columns)
    table.tofile(tmp_path / "a.bin")
    cloud = concerto.read(tmp_path / "a.bin", columns=columns)
    assert np.array_equal(cloud.coord, table[:, :3])


@pytest.mark.parametrize("columns", [3, 6])
def test_columns_that_only_the_size_fits_are_asked_for(tmp_path: Path, columns: int) -> None:
    table = np.tile(sweep(20, 3), columns // 3)
    table.tofile(tmp_path / "a.bin")
    with pytest.raises(InputError, match=r"the fourth of them goes from -.*columns=…"):
        concerto.read(tmp_path / "a.bin")
    assert np.array_equal(concerto.read(tmp_path / "a.bin", columns=columns).coord, table[:, :3])


def test_reflectance_beyond_its_range_can_be_said_to_be_one(tmp_path: Path) -> None:
    table = sweep(11, 4)
    for wrong in (np.nan, 256.0):
        table[3, 3] = wrong
        table.tofile(tmp_path / "a.bin")
        with pytest.raises(InputError, match="reflectance from 0 to 1 or to 255"):
            concerto.read(tmp_path / "a.bin")
        assert len(concerto.read(tmp_path / "a.bin", columns=4)) == 11


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (b"", None, "no points"),
        (b"\0" * 17, None, "17 bytes are no whole number of points of 4 or 5 float32"),
        (b"\0" * 16, 5, "16 bytes are no whole number of points of 5 float32"),
        (b"\0" * 16, 2, "columns is 2; x, y, z take at least 3"),
        (np.random.default_rng(0).bytes(4000), None, "does not look like a sweep"),
    ],
)
def test_what_is_no_sweep_gives_one_clear_error(
    tmp_path: Path, content: bytes, columns: int | None, message: str
) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(InputError, match=message):
        concerto.read(tmp_path / "a.bin", columns=columns)


def test_reflectance_is_said_once_not_to_be_a_colour(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        np.random.default_rng(0).random((50, 4), np.float32).tofile(tmp_path / name)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for name in ("a.bin", "b.bin"):
            concerto.read(tmp_path / name)
    assert ["Reflectance is not a colour" in str(each.message) for each in told] == [True]
