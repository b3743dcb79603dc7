"""Normals of a cloud that has none: a plane through the neighbours of every point.

The order of the points does not matter, bit for bit: all work is done on the distinct coordinates
in an order of their own, that of a k-d tree's leaves, where neighbours also lie close in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto.errors import InputError
from concerto.points.convert import to_point_cloud
from concerto.points.orientation import agreeing_signs
from concerto.points.point_cloud import PointCloud
from concerto.points.scenes import rows_of_scenes
from concerto.points.voxels import check_finite

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEIGHBORS = 20
# Normals are compared with those of this many nearest neighbours: enough to connect what belongs
# together; more cost memory, and were no surer on scans and made-up rooms.
EDGES = 8
# Neighbours that are worked on at a time: 2^20 of them, with their coordinates, take about 50 MB.
CHUNK = 2**20
# A line has no plane: its points spread across by less than this share of its length, squared.
# Eigenvalues in float64 are not exact to less.
LINE = 1e-14


def estimate_normals(
    points: Any,
    k: int = NEIGHBORS,
    viewpoint: Any = None,
    *,
    color_range: tuple[float, float] | None = None,
    drop_invalid: bool = False,
) -> PointCloud:
    """The same points with `normal` (N, 3): of unit length, float32, replacing any they had.

    A normal is the direction in which the k nearest points vary least. It is zero where they
    define no plane: where they lie on a line, or in fewer than three places.

    points: a `PointCloud`, or whatever a model takes; scenes packed together are each estimated as
    if alone. k: points that each plane is fitted to, the point itself among them, points in the
    same place counted once; more smooth noise and corners. A LiDAR sweep needs some 60, as
    otherwise the neighbours lie on one of its rings, nearly a line.
    color_range, drop_invalid: as in `Concerto.forward`.

    viewpoint: (3,) coordinates that the normals face, such as the scanner's. Without it,
    neighbouring normals agree, and each connected surface faces

    - up (+z), if it is open: a floor, a terrain, a table seen from above, and so a room without
      its ceiling, whose walls then face inwards;
    - outwards, if it is closed: an object, and so also a room with its ceiling, seen from inside.
      Pass a viewpoint in such a room;
    - else, as a lone wall, along +x, or +y where it runs along x.

    Where things touch in clutter, or a sheet is thinner than the distance of its points, neighbours
    do not tell which side is which, and parts may face the wrong way; a viewpoint avoids that.

    Raises InputError where an argument cannot be used as given, or a coordinate is not finite.
    """
    _check_k(k)
    eye = None if viewpoint is None else _viewpoint(viewpoint)
    cloud = to_point_cloud(points, color_range)
    coord = cloud.coord.detach().cpu()
    valid = torch.isfinite(coord).all(1)
    if not drop_invalid:
        check_finite(coord)
    elif not valid.any():
        raise InputError(f"None of the {len(cloud)} points has finite coordinates.")
    normal = torch.zeros(len(cloud), 3, dtype=torch.float32, device="cpu")
    for scene in rows_of_scenes(points, len(cloud)):
        rows = scene.cpu()
        rows = rows[valid[rows]]
        if len(rows):
            normal[rows] = _estimate(coord[rows], k, eye)
    return replace(cloud, normal=normal.to(cloud.coord.device))


def check_options(normals: int | None, viewpoint: tuple[float, float, float] | None) -> None:
    """Raise InputError for values of --normals and --viewpoint that normals cannot be made by."""
    if normals is not None and normals < 3:
        raise InputError(f"normals is {normals}; a plane takes 3 points at least.")
    if viewpoint is None:
        return
    if normals is None:
        raise InputError(
            "--viewpoint is what estimated normals face: pass --normals K too, or leave it out."
        )
    _viewpoint(viewpoint)


def _check_k(k: int) -> None:
    if type(k) is not int or k < 3:
        raise InputError(f"k is {k!r}; it must be an integer from 3 on, as a plane takes 3 points.")


def _viewpoint(viewpoint: Any) -> Floats:
    try:
        eye = np.asarray(viewpoint, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        eye = np.empty(0)
    if eye.shape != (3,) or not np.isfinite(eye).all():
        raise InputError(
            f"viewpoint is {viewpoint!r}; pass three finite coordinates, such as the scanner's "
            "position, or None."
        )
    return eye


def _estimate(points: Tensor, k: int, eye: Floats | None) -> Tensor:
    """Oriented normals (N, 3) float32 of the finite coordinates (N, 3) of a scene."""
    rounding = torch.finfo(points.dtype).eps * float(points.abs().max())
    coord = points.double().numpy()
    # By a power of two, which changes no digits: squares then neither overflow nor vanish.
    exponent = -int(np.frexp(np.abs(coord).max())[1])
    places, place_of_point = _places(np.ldexp(coord, exponent))
    if len(places) < 3:
        return torch.zeros(len(coord), 3, dtype=torch.float32, device="cpu")
    planes = _fit(places, min(k, len(places)), float(np.ldexp(rounding, exponent)))
    if eye is not None:
        sight = np.ldexp(eye, exponent) - places
        facing = np.einsum("pc,pc->p", planes.normal, sight)
    else:
        facing = agreeing_signs(places, planes.normal, planes.area, planes.neighbors)
    normal = np.where(facing[:, None] < 0, -planes.normal, planes.normal)
    return torch.from_numpy(normal[place_of_point]).float()


def _places(coord: Floats) -> tuple[Floats, Integers]:
    """The distinct rows (P, 3) of coord (N, 3), close ones close, and (N,) the row of each point.

    Their order depends on the rows alone.
    """
    from scipy.spatial import KDTree

    order = np.lexsort(coord.T)
    ordered = coord[order]
    is_new = np.ones(len(coord), bool)
    np.any(ordered[1:] != ordered[:-1], axis=1, out=is_new[1:])
    distinct = ordered[is_new]
    leaves = KDTree(distinct).indices
    rank = np.empty(len(distinct), np.int64)
    rank[leaves] = np.arange(len(distinct))
    place_of_point = np.empty(len(coord), np.int64)
    place_of_point[order] = rank[is_new.cumsum() - 1]
    return distinct[leaves], place_of_point


@dataclass(frozen=True)
class _Planes:
    """The plane at each of P places.

    normal: (P, 3) of unit length and either sign, or zero. area: (P,) what the place stands for
    of the surface, up to a common factor. neighbors: (P, E) int32, the nearest places.
    """

    normal: Floats
    area: Floats
    neighbors: NDArray[np.int32]


def _fit(places: Floats, k: int, rounding: float) -> _Planes:
    """Planes through the k nearest of places (P, 3), which are exact to `rounding`."""
    from scipy.spatial import KDTree

    tree = KDTree(places)
    points = torch.from_numpy(places)
    edges = min(EDGES, k - 1)
    normal, area = np.empty_like(places), np.empty(len(places))
    neighbors = np.empty((len(places), edges), np.int32)
    for rows in _chunks(len(places), k):
        distance, nearest = tree.query(places[rows], k, workers=torch.get_num_threads())
        around = points[torch.from_numpy(nearest)]
        around -= around.mean(1, keepdim=True)
        spread, axes = torch.linalg.eigh(around.mT @ around / k)
        is_line = spread[:, 1] <= LINE * spread[:, 2] + rounding**2
        normal[rows] = axes[:, :, 0].masked_fill(is_line[:, None], 0)
        area[rows] = distance[:, -1] ** 2
        neighbors[rows] = nearest[:, 1 : 1 + edges]
    return _Planes(normal, area, neighbors)


def _chunks(count: int, width: int) -> Iterator[slice]:
    """Slices of `count` rows of `width` neighbours each."""
    step = max(1, CHUNK // width)
    return (slice(start, start + step) for start in range(0, count, step))
