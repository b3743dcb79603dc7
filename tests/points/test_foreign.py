"""Objects of other libraries. trimesh and laspy are real here; open3d and PyTorch Geometric are
stood in for by objects with their attributes."""

import itertools
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import laspy
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import concerto
from concerto import ConcertoWarning, InputError
from concerto.points.convert import to_point_cloud
from conftest import random_cloud

CLOUD = random_cloud(40)
XYZ, RGB, NORMAL = (t.double().numpy() for t in (CLOUD.coord, CLOUD.color, CLOUD.normal))
EMPTY = np.zeros((0, 3))


class TensorOfOpen3d:
    """An open3d.core.Tensor: not an array until asked."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def cpu(self) -> "TensorOfOpen3d":
        return self

    def numpy(self) -> np.ndarray:
        return self.values


class TensorMap(dict[str, TensorOfOpen3d]):
    """The `point` of an open3d.t.geometry.PointCloud: a mapping with attributes."""

    def __getattr__(self, name: str) -> TensorOfOpen3d:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def las(color: np.ndarray | None) -> laspy.LasData:
    header = laspy.LasHeader(point_format=0 if color is None else 2, version="1.2")
    header.scales = np.full(3, 1e-4)
    data = laspy.LasData(header)
    data.x, data.y, data.z = XYZ.T
    if color is not None:
        data.red, data.green, data.blue = color.T.astype(np.uint16)
    return data


def tensors(**fields: np.ndarray) -> TensorMap:
    return TensorMap({name: TensorOfOpen3d(values) for name, values in fields.items()})


@pytest.mark.parametrize(
    ("points", "has_color", "has_normal"),
    [
        (SimpleNamespace(points=XYZ, colors=RGB, normals=NORMAL), True, True),
        (SimpleNamespace(points=XYZ, colors=EMPTY, normals=EMPTY), False, False),
        (SimpleNamespace(point=tensors(positions=XYZ, colors=RGB, normals=NORMAL)), True, True),
        (SimpleNamespace(point=tensors(positions=XYZ)), False, False),
        (SimpleNamespace(vertex=tensors(positions=XYZ, normals=NORMAL)), False, True),
        (SimpleNamespace(vertices=XYZ, vertex_colors=RGB, vertex_normals=NORMAL), True, True),
        (SimpleNamespace(vertices=XYZ, vertex_colors=EMPTY, vertex_normals=EMPTY), False, False),
        (SimpleNamespace(pos=torch.from_numpy(XYZ), x=None, batch=None), False, False),
        (SimpleNamespace(pos=XYZ, color=RGB, normal=NORMAL, batch=None), True, True),
        (trimesh.PointCloud(XYZ), False, False),
        (trimesh.PointCloud(XYZ, colors=(RGB * 255).astype(np.uint8)), True, False),
        (las(None), False, False),
        (las(RGB * 65535), True, False),
        (las(RGB * 255), True, False),
    ],
    ids=[
        "open3d cloud",
        "open3d bare cloud",
        "open3d.t cloud",
        "open3d.t bare cloud",
        "open3d.t mesh",
        "open3d mesh",
        "open3d bare mesh",
        "PyG",
        "PyG with colour",
        "trimesh cloud",
        "trimesh coloured cloud",
        "LAS",
        "LAS with 16-bit colour",
        "LAS with 8-bit colour",
    ],
)
def test_an_object_gives_its_points(points: Any, has_color: bool, has_normal: bool) -> None:
    cloud = to_point_cloud(points)
    assert np.allclose(cloud.coord.numpy(), XYZ, atol=1e-4)
    assert (cloud.color is not None) == has_color
    assert (cloud.normal is not None) == has_normal
    if cloud.color is not None:
        assert np.allclose(cloud.color.numpy(), RGB, atol=1.01 / 255)
    if cloud.normal is not None:
        assert np.allclose(cloud.normal.numpy(), NORMAL)


def test_a_trimesh_mesh_gives_its_vertices_with_normals_and_colours() -> None:
    mesh = trimesh.creation.icosphere()
    bare = to_point_cloud(mesh)
    assert bare.color is None
    assert torch.allclose(bare.normal.double(), torch.from_numpy(mesh.vertices), atol=0.05)
    mesh.visual.vertex_colors = np.tile(np.array([255, 0, 51, 255], np.uint8), (642, 1))
    assert torch.allclose(to_point_cloud(mesh).color[0], torch.tensor([1.0, 0, 0.2]))


def test_a_trimesh_mesh_with_a_material_gives_the_colours_of_its_texture_or_vertices() -> None:
    mesh, material = trimesh.creation.box(), trimesh.visual.material
    plain = (material.PBRMaterial(baseColorFactor=[9, 9, 9, 255]), material.SimpleMaterial())
    uv = np.full((8, 2), 0.5)
    for one, places in itertools.product(plain, (None, uv)):
        mesh.visual = trimesh.visual.TextureVisuals(uv=places, material=one)
        assert to_point_cloud(mesh).color is None
        mesh.visual.vertex_attributes["color"] = np.tile(np.array([255, 0, 51], np.uint8), (8, 1))
        assert torch.allclose(to_point_cloud(mesh).color[7], torch.tensor([1.0, 0, 0.2]))
    image = Image.new("RGB", (4, 4), (0, 255, 0))
    for one in (material.PBRMaterial(baseColorTexture=image), material.SimpleMaterial(image)):
        mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=one)
        assert torch.allclose(to_point_cloud(mesh).color[7], torch.tensor([0.0, 1, 0]))
        mesh.visual = trimesh.visual.TextureVisuals(material=one)
        assert to_point_cloud(mesh).color is None


def test_an_object_of_no_known_kind_is_refused_with_what_to_pass() -> None:
    with pytest.raises(InputError, match=r"Cannot read points from Scene\. Pass an \(N, 3\)"):
        to_point_cloud(trimesh.Scene(trimesh.creation.box()))


def test_a_laspy_object_is_read_as_its_file_is(tmp_path: Path) -> None:
    concerto.write(tmp_path / "scan.las", CLOUD)
    one, two = (
        to_point_cloud(laspy.read(tmp_path / "scan.las")),
        concerto.read(tmp_path / "scan.las"),
    )
    for field in ("coord", "color", "normal"):
        assert torch.equal(getattr(one, field), getattr(two, field)), field


def test_what_pytorch_geometric_calls_x_is_told_to_be_unread_where_it_may_be_meant() -> None:
    pos, x = torch.from_numpy(XYZ), torch.from_numpy(RGB)
    with pytest.warns(ConcertoWarning, match=r"x of .* is not read.*Data\(pos=pos, color=x"):
        assert to_point_cloud(SimpleNamespace(pos=pos, x=x)).color is None
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConcertoWarning)
        to_point_cloud(SimpleNamespace(pos=pos, x=x, color=x))
        to_point_cloud(SimpleNamespace(pos=pos, x=None))
        to_point_cloud(SimpleNamespace(coord=pos, x=x))
