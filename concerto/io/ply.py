"""PLY, ascii and binary, through plyfile: x y z, red green blue, nx ny nz of element vertex."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement, PlyParseError

from concerto.errors import InputError
from concerto.files import replacing
from concerto.points.convert import to_point_cloud
from concerto.points.point_cloud import PointCloud

COORD = ("x", "y", "z")
COLOR = ("red", "green", "blue")
NORMAL = ("nx", "ny", "nz")


def read(path: Path) -> PointCloud:
    """Read the vertices; faces and other properties are ignored."""
    try:
        vertex = PlyData.read(path)["vertex"].data
    except (PlyParseError, OSError, ValueError, TypeError, KeyError, EOFError) as error:
        raise InputError(f"{path} cannot be read as PLY: {error}.") from error
    coord = _columns(vertex, COORD)
    if coord is None:
        names = ", ".join(vertex.dtype.names or ()) or "nothing"
        raise InputError(f"{path} has no properties x, y, z; its vertices have {names}.")
    found = {"coord": coord, "color": _columns(vertex, COLOR), "normal": _columns(vertex, NORMAL)}
    try:
        return to_point_cloud({k: v for k, v in found.items() if v is not None})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write(path: Path, cloud: PointCloud) -> None:
    """Write binary PLY: coordinates and normals in their dtype, colours in 8 bits."""
    columns: dict[str, np.ndarray] = {}
    for names, values in ((COORD, cloud.coord), (NORMAL, cloud.normal), (COLOR, cloud.color)):
        if values is None:
            continue
        if names is COLOR:
            values = (values.clamp(0, 1) * 255).round().to(torch.uint8)
        array = values.detach().cpu().numpy()
        columns |= {name: array[:, axis] for axis, name in enumerate(names)}
    vertex = np.empty(len(cloud), dtype=[(name, a.dtype) for name, a in columns.items()])
    for name, array in columns.items():
        vertex[name] = array
    with replacing(path) as temporary:
        PlyData([PlyElement.describe(vertex, "vertex")], byte_order="<").write(temporary)


def _columns(vertex: np.ndarray, names: tuple[str, ...]) -> np.ndarray | None:
    """The named properties as (N, 3), or None where one is absent."""
    if not set(names) <= set(vertex.dtype.names or ()):
        return None
    return np.stack([vertex[name] for name in names], axis=1)
