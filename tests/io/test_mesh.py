import base64
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import concerto
from concerto import InputError
from concerto.io import MESHES

WITH_COLORS = [".obj", ".glb", ".gltf"]


def save(shape: trimesh.Trimesh | trimesh.Scene, file: Path) -> Path:
    if file.suffix == ".gltf":
        files = trimesh.Scene(shape).export(file_type="gltf")
        for name, content in files.items():
            (file.parent / name).write_bytes(content)
        return file.parent / "model.gltf"
    shape.export(file)
    return file


def glb(tree: dict) -> bytes:
    text = json.dumps({"asset": {"version": "2.0"}, **tree}).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text), len(text), 0x4E4F534A)
    return head + text


@pytest.mark.parametrize("suffix", MESHES)
def test_a_surface_is_sampled_by_area_with_its_normals(tmp_path: Path, suffix: str) -> None:
    slab = trimesh.creation.box((4, 2, 1))
    cloud = concerto.read(save(slab, tmp_path / f"a{suffix}"), points=28_000)
    assert len(cloud) == 28_000
    assert cloud.color is None
    half = torch.tensor([2, 1, 0.5], dtype=torch.float64)
    onto = (cloud.coord / half * cloud.normal).sum(1)
    assert torch.allclose(onto, torch.ones_like(onto), atol=1e-5)  # outwards, on its own side
    share = cloud.normal.abs().mean(0)  # areas 2 x 2, 2 x 4, 2 x 8 of 28
    assert torch.allclose(share, torch.tensor([4, 8, 16]) / 28, atol=0.01)


@pytest.mark.parametrize("suffix", MESHES)
def test_the_same_file_gives_the_same_points(tmp_path: Path, suffix: str) -> None:
    file = save(trimesh.creation.icosphere(1), tmp_path / f"a{suffix}")
    assert torch.equal(concerto.read(file).coord, concerto.read(file).coord)


@pytest.mark.parametrize(("size", "count"), [(0.01, 10_000), (1.0, 60_000), (100.0, 1_000_000)])
def test_how_many_points_follows_the_area_within_bounds(
    tmp_path: Path, size: float, count: int
) -> None:
    file = save(trimesh.creation.box((size,) * 3), tmp_path / "a.stl")
    assert abs(len(concerto.read(file)) - count) <= 1


@pytest.mark.parametrize("suffix", WITH_COLORS)
def test_colours_of_vertices_are_blended(tmp_path: Path, suffix: str) -> None:
    box = trimesh.creation.box()
    box.visual.vertex_colors = np.column_stack([(box.vertices > 0) * 255, np.full(8, 255)]).astype(
        np.uint8
    )
    cloud = concerto.read(save(box, tmp_path / f"a{suffix}"), points=2000)
    assert torch.allclose(cloud.color.double(), cloud.coord + 0.5, atol=0.01)


def colored_glb(colors: np.ndarray, factor: list[float]) -> bytes:
    """A triangle (0, 0, 0), (1, 0, 0), (0, 1, 0) with colours of vertices and a plain material."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
    content = corners.tobytes() + colors.tobytes()
    uri = "data:application/octet-stream;base64," + base64.b64encode(content).decode()
    kind = {"u1": 5121, "u2": 5123, "f4": 5126}[colors.dtype.str[1:]]
    whole = {"count": 3, "componentType": kind, "normalized": kind != 5126, "type": "VEC4"}
    triangle = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "material": 0}
    return glb({
        "buffers": [{"uri": uri, "byteLength": len(content)}],
        "bufferViews": [
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": colors.nbytes},
        ],
        "accessors": [
            {"bufferView": 0, "count": 3, "componentType": 5126, "type": "VEC3"},
            {"bufferView": 1, **whole},
        ],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": factor}}],
        "meshes": [{"primitives": [triangle]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    })  # fmt: skip


@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<f4"])
def test_colours_of_vertices_tint_a_plain_material(tmp_path: Path, dtype: str) -> None:
    most = 1 if dtype == "<f4" else np.iinfo(dtype).max
    red_green_blue = np.hstack([np.eye(3), np.ones((3, 1))])
    content = colored_glb((red_green_blue * most).astype(dtype), [1, 0.2, 0.5, 1])
    (tmp_path / "a.glb").write_bytes(content)
    cloud = concerto.read(tmp_path / "a.glb", points=500)
    x, y, _ = cloud.coord.T
    wanted = torch.stack([1 - x - y, 0.2 * x, 0.5 * y], 1)
    assert torch.allclose(cloud.color.double(), wanted, atol=0.01)


@pytest.mark.parametrize("suffix", WITH_COLORS)
def test_colours_of_a_texture_are_looked_up(tmp_path: Path, suffix: str) -> None:
    ramp = np.zeros((256, 256, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(256), np.arange(255, -1, -1)[:, None]
    square = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    square.visual = trimesh.visual.TextureVisuals(
        uv=square.vertices[:, :2], image=Image.fromarray(ramp)
    )
    cloud = concerto.read(save(square, tmp_path / f"a{suffix}"), points=2000)
    assert torch.allclose(cloud.color[:, :2].double(), cloud.coord[:, :2], atol=0.01)


def test_a_scene_is_its_meshes_where_they_stand(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    scene = trimesh.Scene()
    scene.add_geometry(box, node_name="a", geom_name="box")
    away = trimesh.transformations.translation_matrix([9, 0, 0])
    scene.add_geometry(box, node_name="b", geom_name="box", transform=away)
    scene.export(tmp_path / "a.glb")
    cloud = concerto.read(tmp_path / "a.glb", points=1001)
    assert len(cloud) == 1001
    assert abs(int((cloud.coord[:, 0] > 4).sum()) - 500) <= 1


@pytest.mark.parametrize("suffix", [".obj", ".off", ".glb"])
def test_without_faces_it_is_its_vertices(tmp_path: Path, suffix: str) -> None:
    rows = "0 0 0\n1 2 3\n4 5 6\n"
    file = tmp_path / f"a{suffix}"
    if suffix == ".glb":
        trimesh.PointCloud(np.fromstring(rows, sep=" ").reshape(3, 3)).export(file)
    elif suffix == ".off":
        file.write_text(f"OFF\n3 0 0\n{rows}")
    else:
        file.write_text("".join(f"v {row}\n" for row in rows.splitlines()))
    cloud = concerto.read(file)
    assert cloud.coord.tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert cloud.normal is None
    assert cloud.color is None


def test_vertices_without_faces_keep_the_colours_that_they_have(tmp_path: Path) -> None:
    colors = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]], np.uint8)
    trimesh.PointCloud(np.eye(3), colors=colors).export(tmp_path / "a.glb")
    assert concerto.read(tmp_path / "a.glb").color.tolist() == np.eye(3).tolist()


def test_polygons_of_off_become_triangles(tmp_path: Path) -> None:
    (tmp_path / "a.off").write_text("OFF 4 1 0\n0 0 0\n2 0 0\n2 2 0\n0 2 0\n4 0 1 2 3 255 0 0\n")
    cloud = concerto.read(tmp_path / "a.off", points=4000)
    assert torch.allclose(cloud.coord.mean(0), torch.tensor([1, 1, 0.0]).double(), atol=0.05)
    assert cloud.normal.unique(dim=0).tolist() == [[0, 0, 1]]


def test_text_in_another_encoding_is_read(tmp_path: Path) -> None:
    text = "# Stühle von José\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    (tmp_path / "a.obj").write_text(text, encoding="latin-1")
    assert len(concerto.read(tmp_path / "a.obj", points=7)) == 7


VIEW = {"buffer": 0, "byteLength": 36}
ACCESSOR = {"count": 2**31, "type": "VEC3", "componentType": 5126}


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".obj", b"", "neither triangles nor points"),
        (".obj", b"v 0 0 0\n" * 3 + b"f 1 2 3\n", "no area"),
        (".obj", b"v 0 0 0\nv 1 0 0\nf 1 2 9\n", "names vertex 9, and there are 2"),
        (".obj", b"v 0 0 0\nf -1 -1 -2\n", "counts back beyond the first"),
        (".obj", b"v 0 0 0\nf 0 1 1\n", "names vertex 0"),
        (".obj", b"v 0 0 0\nf 1 1 9000000000\n", "far outside"),
        (".obj", b"v 0 0 0\nf 1 1 " + b"9" * 30 + b"\n", "not made of numbers"),
        (".obj", b"v 0 0 0\nvt 0 0\nf 1/1 1/1 1/2\n", "texture coordinate 2, and there are 1"),
        (".obj", b"v 0 zero 0\n", "not made of numbers: .*'zero'"),
        (".obj", b"v 0 0 0\nf 1 1 one\n", "not made of numbers: .*'one'"),
        (".obj", b"v 0 0\n", "fewer than three numbers"),
        (".obj", b"v 0 0 0" + b" " * 200 + b"0" * 10_000 + b"\n", "10,000 characters"),
        (".obj", b"v 0 0 0 \\\n" + b"\\\n" * 99_999, "10,000 characters"),
        (".obj", b"".join(b"mtllib %d\n" % i for i in range(101)), "more than 100 files"),
        (".stl", b"", "neither triangles nor points"),
        (".stl", b"\0" * 80 + b"\xff" * 4, "neither triangles nor points|cannot be read"),
        (".off", b"PLY\n", "does not say OFF"),
        (".off", b"OFF\n9000000000 0 0\n0 0 0\n", "claims 54,000,000,000 bytes"),
        (".off", b"OFF\n3 1 0\n0.00 0.00 0.00\n1 0 0\n0 1 0\n3 0 1 3\n", "outside 0 to 2"),
        (".off", b"OFF\n3 1 0\n0.00 0.00 0.00\n1.00 0 0\n", "claims 3 vertices and 1 faces"),
        (".glb", b"", "not a GLB file"),
        (".glb", glb({}), "neither triangles nor points"),
        (".glb", glb({"accessors": [ACCESSOR]}), "would take 25,769,803,776 bytes"),
        (".glb", glb({"bufferViews": [VIEW | {"byteLength": 2**20}] * 100}), "would take"),
        (".glb", glb({"accessors": [ACCESSOR | {"count": 1000}],
                      "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}] * 1000}]}),
         "would take 24,012,000 bytes"),
        (".gltf", b'{"a":' + b"[" * 99_999, "cannot be read as GLTF"),
        (".gltf", b"[" * 1_000_001, "more than 1,000,000 parts"),
    ],
)  # fmt: skip
def test_a_bad_mesh_gives_one_clear_error(
    tmp_path: Path, suffix: str, content: bytes, message: str
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=message):
        concerto.read(tmp_path / f"a{suffix}")


def test_a_texture_that_fills_memory_is_refused(tmp_path: Path) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "big.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd big.png\n")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"
    )
    with pytest.raises(InputError, match="texture has 9000 x 9000 pixels"):
        concerto.read(tmp_path / "a.obj")


def test_points_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="points is 0"):
        concerto.read(save(trimesh.creation.box(), tmp_path / "a.stl"), points=0)
