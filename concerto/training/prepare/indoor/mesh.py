"""Scanned meshes in PLY: every vertex a point, its normal that of the triangles around it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io import read

# What writers call the corners of a triangle.
CORNERS = ("vertex_indices", "vertex_index")


@dataclass(frozen=True)
class Mesh:
    """The vertices of a mesh.

    coord: (n, 3) float32 metres. color: (n, 3) uint8. normal: (n, 3) float32 of unit length, zero
    at vertices without triangles.
    """

    coord: NDArray[np.float32]
    color: NDArray[np.uint8]
    normal: NDArray[np.float32]


def read_mesh(file: Path) -> Mesh:
    """Read a mesh of triangles. Raises InputError where it cannot be read, or has no colours."""
    cloud = read(file)
    if cloud.color is None:
        raise InputError(f"{file} has no colours: red, green and blue of its vertices.")
    coord = cloud.coord.double().numpy()
    faces = _faces(file)
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(coord):
        raise InputError(f"{file} has triangles of vertices that are not there.")
    return Mesh(
        coord=coord.astype(np.float32),
        color=(cloud.color * 255).round().byte().numpy(),
        normal=vertex_normals(coord, faces),
    )


def vertex_normals(coord: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, 3): the mean of the normals of a vertex's triangles, weighted by their areas.

    coord: (n, 3). faces: (f, 3) rows of vertices, counter-clockwise as seen from outside.
    """
    corners = coord[faces]
    twice_area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    at = faces.ravel()
    total = np.stack(
        [
            np.bincount(at, np.repeat(twice_area[:, axis], 3), minlength=len(coord))
            for axis in range(3)
        ],
        axis=1,
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray((total / np.where(length > 0, length, 1)).astype(np.float32))


def _faces(file: Path) -> NDArray[np.int64]:
    """(f, 3) rows of vertices. Raises InputError where they are not triangles."""
    from plyfile import PlyData, PlyParseError

    # With their length known beforehand, the lists are read in one piece.
    lengths = {"face": dict.fromkeys(CORNERS, 3)}
    try:
        face: Any = PlyData.read(str(file), known_list_len=lengths)["face"]
        name = next(name for name in CORNERS if name in face.data.dtype.names)
    except (KeyError, StopIteration) as error:
        raise InputError(f"{file} has no triangles: no element face with {CORNERS[0]}.") from error
    except (PlyParseError, ValueError, EOFError) as error:
        raise InputError(f"The triangles of {file} cannot be read: {error}.") from error
    rows = face.data[name]
    if rows.dtype == object:
        rows = np.stack(list(rows)) if len(rows) else np.empty((0, 3))
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise InputError(f"{file} has faces that are no triangles.")
    return np.asarray(rows.astype(np.int64))
