"""One scene, a list of scenes, or scenes packed into one dict: what a call was given.

Packed scenes lie in shared arrays, as Pointcept and PyTorch Geometric batch them: `offset` (B,)
says where each scene ends, or `batch` (N,) to which scene each point belongs. Their features come
back packed the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from concerto.errors import InputError
from concerto.points.convert import as_tensor, to_point_cloud
from concerto.points.foreign import get
from concerto.points.prepare import EncoderInput


@dataclass(frozen=True)
class Scenes:
    """The scenes of one call.

    items: a `PointCloud` or `EncoderInput` each, or still what the caller passed.
    as_list: whether results are a list, one entry a scene.
    rows: (N,) int64, for packed scenes the caller's row of each point, scene after scene.
    numbers: what the caller knows each by, where there are several.
    """

    items: Sequence[Any]
    as_list: bool
    rows: Tensor | None = None
    numbers: Sequence[int] = (0,)


def to_scenes(points: Any, color_range: tuple[float, float] | None = None) -> Scenes:
    """Tell scenes apart.

    Raises InputError for an empty list, packing that does not add up, or a color_range of ready
    voxels.
    """
    if is_list(points):
        if not points:
            raise InputError("The list of scenes is empty.")
        if any(_is_packed(item) for item in points):
            raise InputError(
                "A list holds one scene an entry, and one of these is packed (it has grid_coord, "
                "offset or batch). Pass packed scenes on their own."
            )
        return Scenes(points, as_list=True, numbers=range(len(points)))
    if not _is_packed(points):
        return Scenes([points], as_list=False)
    if get(points, "grid_coord") is not None:
        if color_range is not None:
            raise InputError(
                "color_range has no say where grid_coord is given: feat holds colours in 0-1."
            )
        voxels = _voxels(points)
        parts = _parts(points, len(voxels.feat), voxels.feat.device)
        items: list[Any] = [_scene_of(voxels, rows) for rows in parts.values()]
    else:
        cloud = to_point_cloud(points, color_range)
        parts = _parts(points, len(cloud), cloud.coord.device)
        items = [cloud[rows] for rows in parts.values()]
    return Scenes(items, False, torch.cat(list(parts.values())), list(parts))


def with_coordinates(
    points: Any, color_range: tuple[float, float] | None = None
) -> tuple[Any, Tensor]:
    """One scene, read where it is a path, and the coordinates (N, 3) of its points.

    Raises InputError where it cannot be used as given, also for ready voxels without coordinates.
    """
    if get(points, "grid_coord") is None:
        cloud = to_point_cloud(points, color_range)
        return cloud, cloud.coord
    if get(points, "coord") is None:
        raise InputError(
            "grid_coord and feat were given without coord. Where things are is told in coord: pass "
            "it too, (N, 3), a row a voxel."
        )
    coord = to_point_cloud({"coord": get(points, "coord")}).coord
    grid = _integers(get(points, "grid_coord"), "grid_coord")
    if grid.shape != coord.shape:
        raise InputError(
            f"coord has shape {tuple(coord.shape)} and grid_coord {tuple(grid.shape)}; both must "
            "be (N, 3), of the same rows."
        )
    return points, coord


def is_list(points: Any) -> bool:
    """Whether these are several scenes, whose results are a list."""
    return isinstance(points, (list, tuple)) and not hasattr(points, "_fields")


def _is_packed(points: Any) -> bool:
    return any(get(points, name) is not None for name in ("grid_coord", "offset", "batch"))


def rows_of_scenes(points: Any, count: int) -> list[Tensor]:
    """The rows of each scene that has any, from `offset`, or `batch`, or all of them.

    Raises InputError for packing that does not add up.
    """
    return list(_parts(points, count, None).values())


def _parts(points: Any, count: int, device: torch.device | None) -> dict[int, Tensor]:
    """As `rows_of_scenes`, by the scenes' numbers; on a device, or where the packing is."""
    if get(points, "offset") is not None:
        ends = _integers(get(points, "offset"), "offset").flatten()
        sizes = torch.diff(ends, prepend=ends.new_zeros(1))
        if len(ends) == 0 or (sizes < 0).any() or int(ends[-1]) != count:
            raise InputError(
                f"offset is {ends.tolist()}; it must rise to the number of points, {count}: "
                "where each scene ends."
            )
        numbers, rows = range(len(ends)), torch.arange(count, device=ends.device)
    elif get(points, "batch") is not None:
        batch = _integers(get(points, "batch"), "batch").flatten()
        if len(batch) != count:
            raise InputError(f"There are {count} points, but batch has {len(batch)} entries.")
        known, batch, sizes = torch.unique(batch, return_inverse=True, return_counts=True)
        numbers, rows = known.tolist(), batch.argsort(stable=True)
    else:
        return {0: torch.arange(count, device=device or "cpu")}
    parts = rows.to(device or rows.device).split(sizes.tolist())
    return {n: part for n, part in zip(numbers, parts, strict=True) if len(part)}


def _voxels(points: Any) -> EncoderInput:
    """Voxels of the caller's own making: one row each, their nine channels ready."""
    if get(points, "feat") is None:
        raise InputError(
            "grid_coord was given without feat. Pass both, feat (N, 9) being coordinates, colour "
            "in 0-1 and normal; or neither, but coord, color and normal."
        )
    feat = as_tensor(get(points, "feat"), "feat")
    grid = _integers(get(points, "grid_coord"), "grid_coord").to(feat.device)
    if feat.ndim != 2 or feat.shape[1] != 9 or grid.shape != (len(feat), 3) or not len(feat):
        raise InputError(
            f"feat has shape {tuple(feat.shape)} and grid_coord {tuple(grid.shape)}; they must be "
            "(N, 9) and (N, 3), of at least one row."
        )
    finite = torch.isfinite(feat).all(1)
    if not finite.all():
        bad, first = int((~finite).sum()), int((~finite).nonzero()[0])
        raise InputError(f"feat is NaN or infinite in {bad} rows, first at index {first}.")
    return EncoderInput(feat.float(), grid, torch.arange(len(feat), device=feat.device))


def _integers(values: Any, name: str) -> Tensor:
    tensor = as_tensor(values, name)
    if tensor.is_floating_point() and not torch.equal(tensor, tensor.floor()):
        raise InputError(f"{name} must hold integers; it has others, or NaN.")
    return tensor.long()


def _scene_of(voxels: EncoderInput, rows: Tensor) -> EncoderInput:
    grid = voxels.grid_coord[rows]
    spare = len(grid) - len(torch.unique(grid, dim=0))
    if spare:
        raise InputError(
            f"{spare} rows of grid_coord share a voxel with another of their scene; keep one row a "
            "voxel, or pass coord, color and normal and let the model make the voxels."
        )
    return EncoderInput(voxels.feat[rows], grid, torch.arange(len(rows), device=grid.device))
