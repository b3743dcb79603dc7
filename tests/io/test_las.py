import struct
from pathlib import Path

import laspy
import numpy as np
import pytest
import torch

import concerto
from concerto import InputError, PointCloud
from conftest import random_cloud

SUFFIXES = [".las", ".laz"]
UTM = torch.tensor([448_262.123456, 5_411_932.654321, 312.5], dtype=torch.float64)


def save(file: Path, point_format: int, **fields: np.ndarray) -> None:
    las = laspy.LasData(laspy.LasHeader(version="1.4", point_format=point_format))
    las.x = las.y = las.z = np.arange(4.0)
    for name, values in fields.items():
        las[name] = values
    las.write(str(file))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("extent", [0.0, 1e-3, 1.0, 1000.0, 1e5, 2e6])
def test_utm_coordinates_round_trip_in_float64(tmp_path: Path, suffix: str, extent: float) -> None:
    random = torch.Generator().manual_seed(0)
    coord = UTM + torch.rand(1000, 3, generator=random, dtype=torch.float64) * extent
    concerto.write(tmp_path / f"a{suffix}", PointCloud(coord))
    again = concerto.read(tmp_path / f"a{suffix}").coord
    assert again.dtype == torch.float64
    assert (again - coord).abs().max() <= max(min(extent * 1e-7, 1e-3), 2e-9)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("point_format", [2, 3, 7, 8])
@pytest.mark.parametrize("white", [255, 65535])
def test_colours_of_8_bits_in_16_are_told_by_their_values(
    tmp_path: Path, suffix: str, point_format: int, white: int
) -> None:
    file = tmp_path / f"a{suffix}"
    save(file, point_format, red=np.full(4, white), green=np.array([0, 0, white, white]))
    assert concerto.read(file).color.tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]]


@pytest.mark.parametrize("point_format", [0, 1, 2, 6, 7])
def test_a_file_without_colours_or_all_black_has_none(tmp_path: Path, point_format: int) -> None:
    save(tmp_path / "a.las", point_format, intensity=np.full(4, 9))
    assert concerto.read(tmp_path / "a.las").color is None


@pytest.mark.parametrize("extent", [5e-324, 1e-320, 1e-308])
def test_points_closer_together_than_numbers_go_are_written(tmp_path: Path, extent: float) -> None:
    coord = torch.tensor([[0.0, 0, 0], [extent, 0, 0]], dtype=torch.float64)
    concerto.write(tmp_path / "a.las", PointCloud(coord))
    assert (concerto.read(tmp_path / "a.las").coord - coord).abs().max() <= extent


def test_a_dark_cloud_stays_dark(tmp_path: Path) -> None:
    color = torch.full((4, 3), 0.003)
    concerto.write(tmp_path / "a.las", PointCloud(torch.rand(4, 3), color))
    assert (concerto.read(tmp_path / "a.las").color - color).abs().max() <= 0.5 / 255


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_classes_and_features_are_where_las_has_them(tmp_path: Path, suffix: str) -> None:
    features, classes = torch.rand(6, 3), torch.tensor([0, 1, 31, 32, 200, 255])
    concerto.write(tmp_path / f"a{suffix}", random_cloud(6), features=features, classes=classes)
    las = laspy.read(tmp_path / f"a{suffix}")
    assert np.asarray(las.classification).tolist() == classes.tolist()
    assert np.array_equal(np.stack([las[f"feature_{i}"] for i in range(3)], 1), features.numpy())


def test_what_las_cannot_hold_is_refused(tmp_path: Path) -> None:
    cloud, file = random_cloud(3), tmp_path / "a.las"
    for classes in (torch.tensor([0, 1, 256]), torch.tensor([0, 1, -1])):
        with pytest.raises(InputError, match="holds 0 to 255"):
            concerto.write(file, cloud, classes=classes)
    with pytest.raises(InputError, match="can hold 341 numbers"):
        concerto.write(file, cloud, features=torch.zeros(3, 340))
    with pytest.raises(InputError, match="NaN or infinite"):
        concerto.write(file, PointCloud(torch.tensor([[0, 0, torch.nan]])))
    far = torch.tensor([[-1e308, 0, 0], [1e308, 0, 0]], dtype=torch.float64)
    with pytest.raises(InputError, match=r"cannot hold coordinates from -1e\+308 to 1e\+308"):
        concerto.write(file, PointCloud(far))
    assert not file.exists()


def test_as_many_features_as_are_allowed_are_written(tmp_path: Path) -> None:
    features = torch.rand(2, 341)
    concerto.write(tmp_path / "a.las", PointCloud(torch.rand(2, 3)), features=features)
    assert laspy.read(tmp_path / "a.las")["feature_340"].tolist() == features[:, 340].tolist()


def edited(file: Path, edits: dict[int, bytes]) -> Path:
    content = bytearray(file.read_bytes())
    for place, piece in edits.items():
        content[place : place + len(piece)] = piece
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({0: b"LASX"}, "signature"),
        ({96: struct.pack("<I", 2**31)}, "claims 2,147,483,648 bytes"),
        ({100: struct.pack("<I", 2**32 - 1)}, "claims 231,928,233,930 bytes"),
        ({247: struct.pack("<Q", 2**40)}, "claims"),
        ({247: struct.pack("<Q", 0)}, "no points"),
        ({243: struct.pack("<I", 2**32 - 1), 235: struct.pack("<Q", 9)}, None),
    ],
)
def test_false_claims_of_a_header_are_refused(
    tmp_path: Path, suffix: str, edits: dict[int, bytes], message: str | None
) -> None:
    file = tmp_path / f"a{suffix}"
    concerto.write(file, random_cloud(500))
    edited(file, edits)
    if message is None:  # records behind the points, which are not read
        assert len(concerto.read(file)) == 500
        return
    with pytest.raises(InputError, match=message):
        concerto.read(file)


def test_false_claims_inside_compressed_points_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.laz"
    concerto.write(file, random_cloud(500))
    whole = file.read_bytes()
    with laspy.open(file) as reader:
        start, width = reader.header.offset_to_point_data, reader.header.point_format.size
    table = struct.unpack_from("<q", whole, start)[0]
    with pytest.raises(InputError, match="more chunks than there are points"):
        concerto.read(edited(file, {table + 4: struct.pack("<I", 2**32 - 1)}))
    file.write_bytes(whole)
    with pytest.raises(InputError, match="claims 4,29"):
        concerto.read(edited(file, {start + 8 + width + 4: struct.pack("<I", 2**32 - 1)}))
    file.write_bytes(whole[: start + 20])
    with pytest.raises(InputError):
        concerto.read(file)
