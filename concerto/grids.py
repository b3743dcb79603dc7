"""Voxels as sortable integers: what voxelization, pooling and convolution have in common."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# A curve code spends 3 bits a level and an int64 key 63 in all, which leaves 15 for the cloud.
MAX_DEPTH = 16
MAX_CLOUDS = 2**14


class Groups(NamedTuple):
    """Equal keys, brought together. G groups, in the order of their keys.

    order: (n,) int64, the rows sorted by key; rows of equal keys keep their order.
    group: (n,) int64, the group of each row.
    starts: (G,) int64, where each group begins in `order`.
    """

    order: Tensor
    group: Tensor
    starts: Tensor


def group_rows(keys: Tensor) -> Groups:
    """Group the rows of `keys`, (n,) int64, by equal value."""
    sorted_keys, order = torch.sort(keys, stable=True)
    is_start = torch.ones_like(sorted_keys, dtype=torch.bool)
    torch.ne(sorted_keys[1:], sorted_keys[:-1], out=is_start[1:])
    group = torch.empty_like(order)
    group[order] = is_start.cumsum(0) - 1
    return Groups(order, group, is_start.nonzero().flatten())


def spans(grid_coord: Tensor) -> Tensor:
    """Extents (3,) for `pack` that leave a border of one empty voxel on every side."""
    return grid_coord.amax(0) + 3


def pack(grid_coord: Tensor, batch: Tensor, spans: Tensor) -> Tensor:
    """Keys (n,) int64 that sort as (batch, x, y, z).

    grid_coord: (n, 3) int64 >= 0. batch: (n,) int64 cloud of each voxel. spans: (3,) int64.
    With `spans` from the function of that name, the key of a neighbour is the voxel's own key
    plus a constant, and keys of different lines along z never touch.
    """
    x, y, z = grid_coord.unbind(1)
    border = (spans[1] + 1) * spans[2] + 1
    return ((batch * spans[0] + x) * spans[1] + y) * spans[2] + z + border


def keys_of(grid_coord: Tensor) -> Tensor:
    """Keys (n,) int64 that sort as (x, y, z), of the voxels (n, 3) int64 >= 0 of one cloud."""
    one_cloud = torch.zeros((), dtype=torch.int64, device=grid_coord.device)
    return pack(grid_coord, one_cloud, spans(grid_coord))


def sizes_of(offsets: Tensor) -> list[int]:
    """The rows of each cloud, from `offsets`, the (B,) ends of the clouds."""
    sizes: list[int] = offsets.diff(prepend=offsets.new_zeros(1)).tolist()
    return sizes


def cloud_of_row(offsets: Tensor, rows: int) -> Tensor:
    """The cloud (rows,) int64 of each row, from `offsets`, the (B,) ends of the clouds."""
    row = torch.arange(rows, device=offsets.device)
    return torch.searchsorted(offsets, row, right=True)
