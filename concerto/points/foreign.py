"""Other libraries' objects, known by their attributes: none of those libraries is imported.

Read are open3d's point clouds and meshes (legacy and tensor), trimesh's, laspy's, PyTorch
Geometric's data, and anything with attributes or keys coord, color, normal. A mesh gives its
vertices, so that features come back one a vertex.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from concerto.errors import ConcertoWarning, InputError
from concerto.points.point_cloud import PointCloud


class Fields(NamedTuple):
    """Coordinates (N, 3), and colours and normals or None, still in the caller's types.

    color_range: what black and white are, where the kind of object settles it.
    """

    coord: Any
    color: Any = None
    normal: Any = None
    color_range: tuple[float, float] | None = None


# Names that people give to what is called coord, color, normal here.
MISNAMED = {
    "coord": ("coords", "xyz", "pos", "points", "position", "positions"),
    "color": ("colors", "colour", "colours", "rgb"),
    "normal": ("normals",),
}


def fields_of(points: Any) -> Fields | None:
    """The fields of a dict or object, or None where it is neither known nor alike.

    Raises InputError for a dict without coordinates, or with a field under another name.
    """
    if isinstance(points, Mapping):
        return _mapping(points)
    if isinstance(points, PointCloud):
        return Fields(points.coord, points.color, points.normal, (0, 1))
    for name in ("coord", "pos"):
        if hasattr(points, name):
            _check_names(points)
            fields = Fields(get(points, name), get(points, "color"), get(points, "normal"))
            if name == "pos" and fields.color is None and fields.normal is None:
                _warn_of_x(points)
            return fields
    if hasattr(points, "point_format") and hasattr(points, "xyz"):
        return _laspy(points)
    for cloud_or_mesh in ("point", "vertex"):
        if hasattr(get(points, cloud_or_mesh), "positions"):
            return _open3d_tensor(get(points, cloud_or_mesh))
    if hasattr(points, "points") and hasattr(points, "colors"):
        return Fields(*(_filled(get(points, n)) for n in ("points", "colors", "normals")))
    if hasattr(points, "vertices"):
        return _vertices(points)
    return None


def get(points: Any, name: str) -> Any:
    """A key of a mapping, or an attribute of anything else; None where it is absent.

    Of an array nothing: its attributes are of NumPy, as `offset` of one that lies in a file.
    """
    if isinstance(points, np.ndarray):
        return None
    return points.get(name) if isinstance(points, Mapping) else getattr(points, name, None)


def _mapping(points: Mapping[str, Any]) -> Fields:
    _check_names(points)
    if "coord" not in points:
        given = ", ".join(str(key) for key in points) or "nothing"
        raise InputError(
            f"A dict of points has coord, and optionally color and normal; this one has {given}."
        )
    if "feat" in points and "color" not in points and "normal" not in points:
        raise InputError(
            "feat was given without grid_coord. Pass both, feat (N, 9) being coordinates, colour "
            "in 0-1 and normal; or neither, but coord, color and normal."
        )
    return Fields(points["coord"], points.get("color"), points.get("normal"))


def _check_names(points: Any) -> None:
    for name, others in MISNAMED.items():
        for other in others:
            called = get(points, name) is None and get(points, other) is not None
            if called and not (name == "coord" and hasattr(points, "pos")):
                raise InputError(
                    f"What is called {other!r} here is {name!r} to a model: rename it."
                )


def _warn_of_x(points: Any) -> None:
    if get(points, "x") is not None:
        warnings.warn(
            "x of PyTorch Geometric's data is not read, as it may hold anything. Name colours "
            "color and normals normal: Data(pos=pos, color=x[:, :3], normal=x[:, 3:6]).",
            ConcertoWarning,
            stacklevel=2,
        )


def _laspy(las: Any) -> Fields:
    """Colours in 16 bits, though many writers leave 8-bit values there; normals as extras."""
    names = set(las.point_format.dimension_names)
    color, normal = (
        np.stack([np.asarray(las[name]) for name in triple], axis=1)
        if set(triple) <= names
        else None
        for triple in (("red", "green", "blue"), ("nx", "ny", "nz"))
    )
    if color is None or not color.any():
        return Fields(np.asarray(las.xyz), None, normal)
    return Fields(np.asarray(las.xyz), color, normal, (0, 255 if color.max() <= 255 else 65535))


def _open3d_tensor(point: Any) -> Fields:
    positions, colors, normals = (
        point[name].cpu().numpy() if name in point else None
        for name in ("positions", "colors", "normals")
    )
    return Fields(positions, colors, normals)


def _vertices(mesh: Any) -> Fields:
    """A mesh of open3d or trimesh, or a cloud of trimesh."""
    color = _filled(get(mesh, "vertex_colors"))
    if color is None:
        color = _filled(get(mesh, "colors"))
    if color is None:
        color = _visual_color(get(mesh, "visual"))
    normal = _filled(get(mesh, "vertex_normals"))
    return Fields(np.asarray(mesh.vertices), None if color is None else color[:, :3], normal)


def _visual_color(visual: Any) -> Any:
    """What trimesh keeps of a mesh's colour: (V, 3 or 4), of the texture before the vertices.

    Beside a material, the vertices' colours are an attribute. A plain material's own colour is that
    of no vertex.
    """
    kind = get(visual, "kind")
    if kind is None:
        return None
    if kind != "texture":
        return _filled(get(visual, "vertex_colors"))
    images = (get(visual.material, name) for name in ("baseColorTexture", "image"))
    if _filled(visual.uv) is not None and any(image is not None for image in images):
        return _filled(visual.to_color().vertex_colors)
    return _filled(visual.vertex_attributes.get("color"))


def _filled(values: Any) -> Any:
    """An array of at least one row, or None: these libraries leave absent fields empty."""
    if values is None:
        return None
    array = np.asarray(values)
    return array if array.ndim == 2 and len(array) else None
