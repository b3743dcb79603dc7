"""What the student does not see: whole cells of a coarse grid, whose points also lose their place.

A masked point keeps its row but shows the encoder a learned token; were its voxel exactly where
the teacher's is, the place alone would still tell a part of the answer, so it is jittered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from concerto.encoder.random import hash_seeds, hash_uniform
from concerto.grids import cloud_of_row, group_rows, pack, spans
from concerto.training.scenes.samples import Clouds


@dataclass(frozen=True)
class Masked:
    """Clouds as the student is given them. rows: (n,) bool, the masked ones."""

    clouds: Clouds
    rows: Tensor


def mask_cells(clouds: Clouds, seeds: Tensor, size: float, ratio: float) -> Tensor:
    """Draw cells of a grid and mask what lies in them: (n,) bool.

    The grid has cells of `size` metres in the view's own, augmented coordinates and begins at the
    cloud's lowest corner. Of each cloud's occupied cells the share `ratio` is masked, rounded
    down. seeds: (B,) int64, one a cloud; nothing else decides which cells.
    """
    coord = clouds.feat[:, :3]
    batch = cloud_of_row(clouds.offsets, len(coord))
    cell = ((coord - _lowest(coord, batch, len(seeds))[batch]) / size).floor().long()
    cells = group_rows(pack(cell, batch, spans(cell)))
    first = cells.order[cells.starts]
    drawn = hash_uniform(seeds[batch[first]], *cell[first].unbind(1))
    # Sorted by (cloud, number drawn): a cell's rank in its cloud decides.
    owner = batch[first]
    order = torch.argsort(drawn, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    counts = torch.bincount(owner, minlength=len(seeds))
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(order), device=order.device) - starts[owner[order]]
    masked = torch.empty_like(order, dtype=torch.bool)
    masked[order] = rank < (counts * ratio).floor()[owner[order]]
    return masked[cells.group]


def jitter_masked(
    clouds: Clouds, rows: Tensor, seeds: Tensor, deviation: float, grid_size: float
) -> Masked:
    """Move masked points' voxels as noise of `deviation` metres on their coordinates would.

    The noise is Gaussian, cut off above at twice the deviation, not below, as published. A point
    moves only into a voxel of the grid that is nobody's and that no earlier row takes, else it
    stays: so voxels stay one to a row. Features do not change.
    """
    grid = clouds.grid_coord
    batch = cloud_of_row(clouds.offsets, len(grid))
    position = clouds.feat[:, :3] / grid_size
    # Where the grid begins: voxel number <= position - origin for every point.
    origin = _lowest(position - grid, batch, len(seeds))[batch]
    axes = torch.arange(3, device=grid.device)
    drawn = hash_uniform(hash_seeds(seeds[batch], *grid.unbind(1))[:, None], axes)
    noise = _normal(drawn) * deviation
    shift = noise.clamp(max=2 * deviation) / grid_size
    moved = (position - origin + shift).floor().long()
    keys = _free(grid, moved, batch, rows)
    return Masked(replace(clouds, grid_coord=torch.where(keys[:, None], moved, grid)), rows)


def _free(grid: Tensor, moved: Tensor, batch: Tensor, rows: Tensor) -> Tensor:
    """Which rows may move: (n,) bool."""
    inside = rows & (moved >= 0).all(1)
    moved = torch.where(inside[:, None], moved, grid)
    extent = torch.maximum(spans(grid), spans(moved))
    taken, wanted = pack(grid, batch, extent), pack(moved, batch, extent)
    free = inside & ~torch.isin(wanted, taken)
    first = torch.zeros_like(free)
    candidates = free.nonzero().flatten()
    claims = group_rows(wanted[candidates])
    first[candidates[claims.order[claims.starts]]] = True
    return first


def _lowest(values: Tensor, batch: Tensor, clouds: int) -> Tensor:
    """Least value of each cloud: (n, 3) → (B, 3)."""
    out = values.new_full((clouds, values.shape[1]), torch.inf)
    return out.scatter_reduce_(0, batch[:, None].expand_as(values), values, "amin")


def _normal(uniform: Tensor) -> Tensor:
    """Standard normal from numbers in [0, 1)."""
    centred = (2 * uniform - 1).clamp(min=-1 + 2**-24)
    return 2**0.5 * torch.erfinv(centred)
