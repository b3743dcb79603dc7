from pathlib import Path

import numpy as np
import pypcd4
import pytest
import torch

import concerto
from concerto import InputError
from conftest import random_cloud

XYZ = ("FIELDS x y z", "SIZE 4 4 4", "TYPE F F F", "COUNT 1 1 1")
XYZRGB = ("FIELDS x y z rgb", "SIZE 4 4 4 4", "TYPE F F F {}", "COUNT 1 1 1 1")


def pcd(fields: tuple[str, ...], points: int, data: str, body: bytes = b"") -> bytes:
    size = (f"WIDTH {points}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {points}")
    return "\n".join(["# .PCD", "VERSION .7", *fields, *size, f"DATA {data}", ""]).encode() + body


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("points", [1, 50])
def test_every_encoding_is_read(tmp_path: Path, encoding: str, points: int) -> None:
    cloud = random_cloud(points)
    concerto.write(tmp_path / "a.pcd", cloud)
    pypcd4.PointCloud.from_path(tmp_path / "a.pcd").save(
        tmp_path / "b.pcd", pypcd4.Encoding(encoding)
    )
    again = concerto.read(tmp_path / "b.pcd")
    assert torch.allclose(again.coord, cloud.coord, atol=1e-6)
    assert torch.allclose(again.normal, cloud.normal, atol=1e-6)
    if encoding != "ascii":  # the writer rounds packed colours away
        assert torch.allclose(again.color, cloud.color, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    ("kind", "packed"), [("U", str(0x804020)), ("F", str(0x804020)), ("F", "1.1761e-38")]
)
def test_packed_colours_in_text_are_read(tmp_path: Path, kind: str, packed: str) -> None:
    fields = tuple(line.format(kind) for line in XYZRGB)
    (tmp_path / "a.pcd").write_bytes(pcd(fields, 1, "ascii", f"1 2 3 {packed}\n".encode()))
    color = (concerto.read(tmp_path / "a.pcd").color * 255).round().int().tolist()
    bits = int(np.float32(packed).view(np.uint32)) if "e" in packed else int(packed)
    assert color == [[bits >> 16 & 255, bits >> 8 & 255, bits & 255]]


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("version", ["VERSION .7", "VERSION .5", "VERSION 0.6", "# older"])
def test_a_header_without_what_has_a_default_is_read(
    tmp_path: Path, encoding: str, version: str
) -> None:
    cloud, file = random_cloud(50), tmp_path / "a.pcd"
    concerto.write(file, concerto.PointCloud(cloud.coord))
    pypcd4.PointCloud.from_path(file).save(file, pypcd4.Encoding(encoding))
    content = file.read_bytes().replace(b"VERSION 0.7", version.encode())
    for line in (b"COUNT 1 1 1\n", b"VIEWPOINT 0.0 0.0 0.0 1.0 0.0 0.0 0.0\n"):
        assert line in content
        content = content.replace(line, b"")
    file.write_bytes(content)
    assert torch.allclose(concerto.read(file).coord, cloud.coord, atol=1e-6)


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_points_of_version_5_are_one_row(tmp_path: Path, encoding: str) -> None:
    cloud, file = random_cloud(50), tmp_path / "a.pcd"
    concerto.write(file, concerto.PointCloud(cloud.coord))
    pypcd4.PointCloud.from_path(file).save(file, pypcd4.Encoding(encoding))
    content = file.read_bytes().replace(b"VERSION 0.7", b"VERSION .5")
    for line in (b"WIDTH 50\n", b"HEIGHT 1\n", b"VIEWPOINT 0.0 0.0 0.0 1.0 0.0 0.0 0.0\n"):
        assert line in content
        content = content.replace(line, b"")
    file.write_bytes(content)
    assert torch.allclose(concerto.read(file).coord, cloud.coord, atol=1e-6)


def test_features_and_classes_are_fields(tmp_path: Path) -> None:
    features = torch.rand(6, 3)
    concerto.write(tmp_path / "a.pcd", random_cloud(6), features=features, classes=torch.arange(6))
    points = pypcd4.PointCloud.from_path(tmp_path / "a.pcd")
    assert np.array_equal(points.numpy([f"feature_{i}" for i in range(3)]), features.numpy())
    assert points.pc_data["class"].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header has no FIELDS, SIZE, TYPE, WIDTH, POINTS, DATA"),
        (b"\x00" * 300, "header has no FIELDS"),
        (pcd(XYZ[:2], 1, "ascii", b"1 2 3\n"), "header has no TYPE"),
        (pcd(XYZ, 1, "binary").replace(b"WIDTH 1\n", b""), "header has no WIDTH"),
        (pcd(XYZ, 0, "binary"), "no points"),
        (pcd(XYZ, 2, "binary", b"\x00" * 20), "claims 24 bytes of data, and 20 are there"),
        (pcd(XYZ, 3, "ascii", b"1.00 2.00 3.00\n4.00 5.00 6.00\n"), "claims 3 points and has 2"),
        (pcd(XYZ, 2, "binary_compressed", b"\x08\0\0\0\x18\0\0\0"), "claims 8 bytes"),
        (pcd(XYZ, 2, "binary_compressed", b"\x01\0\0\0\x01\0\0\0\0"), "claims 24 bytes"),
        (pcd(XYZ, 2, "binary_compressed", b"\x01\0\0\0\xff\xff\xff\xff\0"), "claims to hold"),
        (pcd(("FIELDS x", "SIZE 4", "TYPE F", "COUNT 1"), 1, "binary", b"\0" * 4), "no x, y, z"),
        (pcd((*XYZ[:3], "COUNT 1 1 99999999"), 1, "binary", b"\0" * 12), "values a point"),
    ],
)
def test_an_unreadable_file_gives_one_clear_error(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.pcd").write_bytes(content)
    with pytest.raises(InputError, match=message):
        concerto.read(tmp_path / "a.pcd")
