from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

import concerto
import concerto.io
from concerto import InputError
from conftest import random_cloud

LAYOUTS = ["=", "<", ">"]
FACES = np.array([([0, 1, 2],), ([2, 3, 4],)], dtype=[("vertex_indices", "i4", (3,))])


def save(file: Path, layout: str, *elements: PlyElement) -> None:
    PlyData(list(elements), text=layout == "=", byte_order=layout).write(file)


def header(*lines: str, rows: str = "") -> bytes:
    return "\n".join(["ply", "format ascii 1.0", *lines, "end_header", rows]).encode()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_with_elements_before_and_faces_behind(
    tmp_path: Path, layout: str
) -> None:
    vertex = np.zeros(
        5, [("x", "f4"), ("y", "f8"), ("z", "f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    )
    vertex["x"], vertex["green"] = np.arange(5), 255
    camera = np.zeros(2, [("view", "f4")])
    save(
        tmp_path / "scan.ply",
        layout,
        PlyElement.describe(camera, "camera"),
        PlyElement.describe(vertex, "vertex"),
        PlyElement.describe(FACES, "face"),
    )
    cloud = concerto.read(tmp_path / "scan.ply")
    assert cloud.coord[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert cloud.color.tolist() == [[0, 1, 0]] * 5


def test_sixteen_bit_colours_are_told_by_their_values(tmp_path: Path) -> None:
    kinds = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u2"), ("green", "u2"), ("blue", "u2")]
    vertex = np.zeros(2, kinds)
    for white in (255, 65535):
        vertex["red"] = white
        save(tmp_path / "a.ply", "<", PlyElement.describe(vertex, "vertex"))
        assert concerto.read(tmp_path / "a.ply").color.tolist() == [[1, 0, 0]] * 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gaussian_splats_are_points_with_the_colours_of_all_sides(
    tmp_path: Path, layout: str
) -> None:
    names = [*"xyz", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "f_rest_0", "opacity"]
    vertex = np.zeros(3, [(name, "f4") for name in names])
    vertex["x"] = np.arange(3)
    # As the authors' code has it, where a colour is (f_dc - 0.5) / 0.28209479177387814.
    white, off = 0.5 / 0.28209479177387814, 10
    vertex["f_dc_0"], vertex["f_dc_1"] = [white, -white, 0], [0, off, -off]
    save(tmp_path / "splats.ply", layout, PlyElement.describe(vertex, "vertex"))
    cloud = concerto.read(tmp_path / "splats.ply")
    wanted = torch.tensor([[1, 0.5, 0.5], [0, 1, 0.5], [0.5, 0, 0.5]])
    torch.testing.assert_close(cloud.color, wanted, atol=1e-5, rtol=0)
    assert cloud.normal is None
    _, scalars = concerto.io.read_scalars(tmp_path / "splats.ply", ["opacity", "f_dc_1"])
    assert {name: len(values) for name, values in scalars.items()} == {"opacity": 3, "f_dc_1": 3}


def test_colours_may_be_named_diffuse(tmp_path: Path) -> None:
    names = [*"xyz", "diffuse_red", "diffuse_green", "diffuse_blue"]
    vertex = np.zeros(2, [(name, "f4" if name in "xyz" else "u1") for name in names])
    vertex["diffuse_blue"] = 255
    save(tmp_path / "pmvs.ply", "<", PlyElement.describe(vertex, "vertex"))
    assert concerto.read(tmp_path / "pmvs.ply").color.tolist() == [[0, 0, 1]] * 2


def test_features_and_classes_are_properties(tmp_path: Path) -> None:
    features = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    concerto.write(tmp_path / "a.ply", random_cloud(6), features=features, classes=np.arange(6) - 1)
    vertex = PlyData.read(tmp_path / "a.ply")["vertex"]
    assert np.array_equal(np.stack([vertex[f"feature_{i}"] for i in range(3)], 1), features)
    assert vertex["class"].tolist() == [-1, 0, 1, 2, 3, 4]


def test_a_class_beyond_32_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="32 bits"):
        concerto.write(tmp_path / "a.ply", random_cloud(1), classes=np.array([2**31]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as PLY"),
        (b"plx\n", "cannot be read as PLY"),
        (header("element vertex 2", "property float x", rows="1\n"), "claims 4 bytes"),
        (header("element vertex 2", *map("property float {}".format, "xyz"), rows="1.0 2 3\n4 5\n"),
         "cannot be read as PLY"),
        (header("element vertex 3", *map("property float {}".format, "xyz"),
                rows="1.00 2.00 3.00\n4 5 6\n"), "claims 3 vertices and has 2"),
        (header("element vertex -1", *map("property float {}".format, "xyz")), "damaged"),
        (header("element vertex 0", *map("property float {}".format, "xyz")), "no points"),
        (header("element face 0"), "no element vertex"),
        (header("element vertex 1", "property float u", rows="1\n"),
         "no x, y, z; its points have u"),
        (header("element vertex 1", "property list uchar int x", rows="1 1\n"), "has lists"),
    ],
)  # fmt: skip
def test_an_unreadable_file_gives_one_clear_error(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(InputError, match=message):
        concerto.read(tmp_path / "a.ply")
