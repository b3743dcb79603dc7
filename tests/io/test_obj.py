"""What OBJ files may hold, one feature a test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import concerto
from concerto import InputError, PointCloud
from concerto.io import obj
from concerto.io.obj import read_obj

SQUARE = "v 0 0 0\nv 2 0 0\nv 2 2 0\nv 0 2 0\n"


def write(folder: Path, content: str, name: str = "a.obj") -> Path:
    (folder / name).write_text(content, encoding="latin-1", newline="")
    return folder / name


def sample(folder: Path, content: str) -> PointCloud:
    return concerto.read(write(folder, content), points=500)


def colors(cloud: PointCloud) -> list[list[int]]:
    assert cloud.color is not None
    return (cloud.color * 255).round().int().unique(dim=0).tolist()


@pytest.mark.parametrize(
    "faces",
    [
        "f 1 2 3 4\n",
        "f -4 -3 -2 -1\n",
        "f 1/1 2/1 3/1 4/1\n",
        "vt 0\nf 1/1/1 2/-1/1 3//1 4\n",
        "f 1//1 2//1 3//1 4//1\n",
        "f\t1 2\t3  4 # all of it\n",
        "  f 1 2 \\\n 3 \\\n 4\r\n",
        "f 1 2 3\nf 1 3 4\nv 9 9 9\nf 1 2\nf\n",
        "o a\ng b\ns off\nvn 0 0 1\nl 1 2\np 1\nnonsense\nf 1 2 3 4",
        "# a path that ends in \\\nf 1 2 3 4\n",
    ],
)
def test_faces_are_told_in_many_ways(tmp_path: Path, faces: str) -> None:
    cloud = sample(tmp_path, SQUARE + faces)
    assert torch.allclose(cloud.coord.mean(0), torch.tensor([1, 1, 0.0]).double(), atol=0.1)
    assert cloud.normal is not None
    assert cloud.normal.unique(dim=0).tolist() == [[0, 0, 1]]
    assert cloud.color is None


def test_polygons_of_mixed_sizes_become_their_fans(tmp_path: Path) -> None:
    vertices = "".join(f"v {i} 0 0\n" for i in range(9))
    faces = read_obj(write(tmp_path, vertices + "f 1 2 3 4 5\nf 6 7\nf 6 7 8\nf 9 8 7 6\n")).faces
    fans = [[0, 1, 2], [0, 2, 3], [0, 3, 4], [5, 6, 7], [8, 7, 6], [8, 6, 5]]
    assert len(faces) == 6
    assert faces[0:6].tolist() == fans
    assert faces[np.array([4, 2])].tolist() == [fans[4], fans[2]]


def test_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(
        f"v {i} 0 {i}\nv {i} 1 0\nusemtl m\nvt {i} 1\nv 1 {i} 0\nf -1/-1 -2 \\\n -3\n"
        for i in range(50)
    )
    whole = read_obj(write(tmp_path, text))
    monkeypatch.setattr(obj, "BLOCK", 7)
    pieces = read_obj(tmp_path / "a.obj")
    assert len(whole.faces) == 50
    assert whole.faces[0:50].tolist() == [[i + 2, i + 1, i] for i in range(0, 150, 3)]
    assert np.array_equal(whole.vertices, pieces.vertices)
    assert np.array_equal(whole.uv, pieces.uv)
    for one, other in ((whole.faces, pieces.faces), (whole.uv_faces, pieces.uv_faces)):
        assert one is not None
        assert other is not None
        assert np.array_equal(one[0:50], other[0:50])
    assert whole.runs.tolist() == pieces.runs.tolist() == list(range(50))


@pytest.mark.parametrize("white", ["1 1 1", "255 255 255", "1.0 1 1 0.5"])
def test_points_keep_their_colours(tmp_path: Path, white: str) -> None:
    cloud = concerto.read(write(tmp_path, f"v 1 2 3 {white}\nv 4 5 6 0 0 0\n"))
    assert cloud.coord.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert cloud.color is not None
    assert cloud.color.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_the_mark_of_utf_8_hides_no_vertex(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_bytes(b"\xef\xbb\xbfv 1 2 3\n")
    assert concerto.read(tmp_path / "a.obj").coord.tolist() == [[1, 2, 3]]


def test_a_weight_is_no_colour(tmp_path: Path) -> None:
    cloud = concerto.read(write(tmp_path, "v 1 2 3 0.5\nv 4 5 6\n"))
    assert cloud.coord.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert cloud.color is None


def test_the_range_of_colours_may_be_told(tmp_path: Path) -> None:
    file = write(tmp_path, "v 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 0 1 0 1 0 0\nf 1 2 3\n")
    assert colors(concerto.read(file, points=9)) == [[255, 0, 0]]
    assert colors(concerto.read(file, points=9, color_range=(0, 255))) == [[1, 0, 0]]


def test_materials_colour_the_faces_behind_them(tmp_path: Path) -> None:
    write(tmp_path, "newmtl red one\nKd 1 0 0\nnewmtl bare\nnewmtl blue\nKd 0 0 1\n", "my a.mtl")
    faces = "usemtl red one\nf 1 2 3\nusemtl blue\nf 1 3 4\n"
    cloud = sample(tmp_path, f"mtllib my a.mtl\n{SQUARE}{faces}")
    assert colors(cloud) == [[0, 0, 255], [255, 0, 0]]
    right = cloud.coord[:, 0] > cloud.coord[:, 1]
    assert colors(PointCloud(cloud.coord[right], cloud.color[right])) == [[255, 0, 0]]
    cloud = sample(tmp_path, f"mtllib my a.mtl\n{SQUARE}f 1 2 3\nusemtl blue\nf 1 3 4\n")
    assert colors(cloud) == [[0, 0, 0], [0, 0, 255]]


def test_colours_of_vertices_go_before_plain_materials_and_behind_textures(tmp_path: Path) -> None:
    green = "".join(f"{line} 0 1 0\n" for line in SQUARE.splitlines())
    write(tmp_path, "newmtl m\nKd 1 0 0\n", "a.mtl")
    text = f"mtllib a.mtl\n{green}vt 0 0\nusemtl m\nf 1/1 2/1 3/1 4/1\n"
    assert colors(sample(tmp_path, text)) == [[0, 255, 0]]
    Image.new("RGB", (1, 1), (0, 0, 9)).save(tmp_path / "t.png")
    write(tmp_path, "newmtl m\nKd 1 0 0\nmap_Kd t.png\n", "a.mtl")
    assert colors(sample(tmp_path, text)) == [[0, 0, 9]]


@pytest.mark.parametrize(
    "name", ["t.png", "-s 1 1 1 t.png", r"C:\scans\t.png", "tex/t.png", "/no/such/t.png"]
)
def test_a_texture_is_found_and_looked_up_where_a_face_has_uv(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.array([[[9, 0, 0], [0, 9, 0]]], np.uint8)).save(tmp_path / "t.png")
    write(tmp_path, f"newmtl m\nKd 0 0 1\nmap_Kd {name}\n", "a.mtl")
    uv = "vt 0.1 0\nvt 0.9 0\n"
    head = f"mtllib a.mtl\n{SQUARE}{uv}usemtl m\n"
    assert colors(sample(tmp_path, f"{head}f 1/1 2/1 3/1\n")) == [[9, 0, 0]]
    assert colors(sample(tmp_path, f"{head}f 1/2 2/2 3/2\n")) == [[0, 9, 0]]
    mixed = "f 1/1 2/1 3/1\nf 1/2 3/2 4\n"  # one corner without: the plain colour
    assert colors(sample(tmp_path, head + mixed)) == [[0, 0, 255], [9, 0, 0]]


@pytest.mark.parametrize("image", [None, b"", b"\x89PNG\r\n\x1a\nnot one"])
def test_absent_materials_and_images_leave_no_colour(tmp_path: Path, image: bytes | None) -> None:
    text = f"mtllib a.mtl\n{SQUARE}vt 0 0\nusemtl m\nf 1/1 2/1 3/1 4/1\n"
    assert sample(tmp_path, text).color is None
    if image is not None:
        (tmp_path / "t.png").write_bytes(image)
    write(tmp_path, "newmtl m\nmap_Kd t.png\n", "a.mtl")
    assert sample(tmp_path, text).color is None
    write(tmp_path, "newmtl m\nmap_Kd t.png\nKd 0 1 0\n", "a.mtl")
    assert colors(sample(tmp_path, text)) == [[0, 255, 0]]


def test_a_damaged_image_gives_the_plain_colour(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "t.png")
    content = (tmp_path / "t.png").read_bytes()
    (tmp_path / "t.png").write_bytes(content[: len(content) // 2])
    write(tmp_path, "newmtl m\nmap_Kd t.png\nKd 0 1 0\n", "a.mtl")
    text = f"mtllib a.mtl\n{SQUARE}vt 0 0\nusemtl m\nf 1/1 2/1 3/1 4/1\n"
    assert colors(sample(tmp_path, text)) == [[0, 255, 0]]


def test_too_many_materials_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "".join(f"newmtl {i}\n" for i in range(2**16 + 1)), "a.mtl")
    with pytest.raises(InputError, match="more than 65,536 materials"):
        sample(tmp_path, f"mtllib a.mtl\n{SQUARE}f 1 2 3\n")
