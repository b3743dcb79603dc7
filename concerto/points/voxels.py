"""Points → voxels, and the way back.

A voxel is represented by one of its points: the nearest to its centre, ties decided by the
coordinates, then colour, then normal. So the same cloud in another order gives the same voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from concerto.config import Center
from concerto.errors import InputError
from concerto.grids import MAX_DEPTH, group_rows, keys_of
from concerto.points.point_cloud import PointCloud

MILLIMETRES = 1000


@dataclass(frozen=True)
class Voxels:
    """V voxels of one scene, sorted by (x, y, z).

    coord: (V, 3) float32, the representing points' scaled and centred coordinates.
    grid_coord: (V, 3) int64, smallest 0 along each axis. points: (V,) int64, the representing
    points. voxel_of_point: (N,) int64.
    """

    coord: Tensor
    grid_coord: Tensor
    points: Tensor
    voxel_of_point: Tensor


def voxelize(cloud: PointCloud, grid_size: float, scale: float, center: Center) -> Voxels:
    """Cut a scene into cubes of `grid_size`, after scaling its coordinates.

    center: see `ConcertoConfig`. Computed in the coordinates' own dtype: float64 keeps what UTM
    coordinates need.

    Raises InputError where a coordinate is not finite, or the scene is too large for the grid or
    too far from 0.
    """
    coord = cloud.coord * scale if scale != 1 else cloud.coord
    # Axis after axis in memory: what runs along an axis is then several times faster.
    columns = torch.stack(coord.unbind(1)).T
    low, high = columns.amin(0), columns.amax(0)
    if not (low.isfinite() & high.isfinite()).all():
        check_finite(cloud.coord)
        raise InputError(
            f"scale is {scale:g}, which takes the coordinates beyond what {coord.dtype} holds. "
            "Pass a smaller one."
        )
    _check_extent(low, high, grid_size, scale)
    middle = low / 2 + high / 2  # exact, where the sum may overflow
    origin = torch.cat([middle[:2], low[2:]]) if center == "xyz" else torch.zeros_like(low)
    _check_reach(low, high, origin, grid_size)
    keys, lowest, off_center = _cells((columns - origin).detach(), grid_size)
    groups = group_rows(keys)
    points = _nearest(off_center, groups.group, len(groups.starts), cloud)
    kept = coord.index_select(0, points) - origin
    grid_coord = (kept.detach().div(grid_size).floor() - lowest).to(torch.int64)
    if center == "xy":
        middle = kept.amin(0) / 2 + kept.amax(0) / 2
        kept = kept - middle * middle.new_tensor([1, 1, 0])
    return Voxels(kept.float(), grid_coord, points, groups.group)


def check_finite(coord: Tensor) -> None:
    """Raise InputError where a coordinate is NaN or infinite, with count and first index."""
    finite = torch.isfinite(coord).all(1)
    if finite.all():
        return
    bad = int((~finite).sum())
    first = int((~finite).nonzero()[0])
    raise InputError(
        f"coord is NaN or infinite at {bad} of {len(coord)} points, first at index {first}. "
        "Pass drop_invalid=True to leave them out and get zeros there."
    )


def _cells(coord: Tensor, grid_size: float) -> tuple[Tensor, Tensor, Tensor]:
    """Each point's cell as a key (N,), the lowest cell (3,), and squared distances to centres (N,).

    coord: (N, 3); overwritten. Distances are in units of the grid.
    """
    cell = coord.div_(grid_size).floor()
    lowest = cell.amin(0)
    off_center = coord.sub_(cell).sub_(0.5).square_().sum(1)
    grid_coord = cell.sub_(lowest).to(torch.int64)
    return keys_of(grid_coord), lowest, off_center


def _check_extent(low: Tensor, high: Tensor, grid_size: float, scale: float) -> None:
    # On the CPU, as not every device has float64.
    low, high = torch.stack([low, high]).detach().cpu().double()
    extent = float((high - low).max())
    limit = 2**MAX_DEPTH - 1
    if extent / grid_size < limit - 1:
        return
    message = (
        f"The scene spans {extent / scale:g} units, {extent / grid_size:.10g} voxels of "
        f"{grid_size / scale:g}; at most {limit} fit. "
    )
    if extent / grid_size / MILLIMETRES < limit - 1:
        message += f"If these are millimetres, pass scale={scale / MILLIMETRES:g}. "
    message += "Else cut it into parts, look for stray points far away, or pass a larger grid_size."
    raise InputError(message)


def _check_reach(low: Tensor, high: Tensor, origin: Tensor, grid_size: float) -> None:
    """Features are float32: what that does not hold, in units and in voxels, has no place in it."""
    limits = torch.finfo(torch.float32)
    if not limits.tiny <= grid_size <= limits.max:
        raise InputError(f"grid_size is {grid_size:g}; it must be a number that float32 holds.")
    low, high, origin = torch.stack([low, high, origin]).detach().cpu().double()
    reach = float(torch.maximum(high - origin, origin - low).max())
    if max(reach, reach / grid_size) > limits.max:
        raise InputError(
            f"Coordinates lie up to {reach:g} from the origin, and voxels of {grid_size:g} are "
            "counted from there in float32. Subtract an origin that is near the points first."
        )


def _nearest(distance: Tensor, voxel: Tensor, voxels: int, cloud: PointCloud) -> Tensor:
    """For each voxel its point of the smallest distance, whatever the order of the points."""
    least = distance.new_full((voxels,), torch.inf).scatter_reduce(0, voxel, distance, "amin")
    rows = (distance == least.index_select(0, voxel)).nonzero().flatten()
    if len(rows) > voxels:
        rows = _break_ties(rows, voxel, cloud)
    points = torch.empty(voxels, dtype=torch.int64, device=voxel.device)
    points[voxel.index_select(0, rows)] = rows
    return points


def _break_ties(rows: Tensor, voxel: Tensor, cloud: PointCloud) -> Tensor:
    """One of `rows` a voxel: the first by coordinates, then colour, then normal."""
    tied = torch.bincount(voxel[rows])[voxel[rows]] > 1
    alone, rows = rows[~tied], rows[tied]
    columns = [
        column
        for values in (cloud.coord, cloud.color, cloud.normal)
        if values is not None
        for column in values[rows].unbind(1)
    ]
    # Sorting is stable, so the last sort counts most.
    order = torch.arange(len(rows), device=rows.device)
    for column in reversed([voxel[rows], *columns]):
        order = order[column[order].argsort(stable=True)]
    rows = rows[order]
    first = torch.ones_like(rows, dtype=torch.bool)
    first[1:] = voxel[rows[1:]] != voxel[rows[:-1]]
    return torch.cat([alone, rows[first]])
