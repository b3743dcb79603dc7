"""How large a slice of rows the encoder may work on within a bound on memory."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from concerto.config import ConcertoConfig
from concerto.errors import InputError

# High-water marks of whole encodings, measured from outside (`python -m benchmarks.memory`) and
# rounded up. Bytes a voxel: while a level's curves, patches and neighbours are worked out, what of
# them its blocks use, and what later levels leave of them.
GEOMETRY_BYTES, LAYOUT_BYTES, KEPT_BYTES = 600, 200, 60
# Float32 tensors of a slice of rows: gathered rows, queries, keys and values, or a hidden layer.
SLICE_TENSORS = 14
# What the libraries keep for themselves, and the allocator of a level's geometry at the most.
LIBRARY_BYTES, ALLOCATOR_BYTES = 64 * 2**20, 192 * 2**20
# Slices below this cost time and save nothing.
MIN_SLICE_ROWS = 2**13

POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_memory(amount: int | str) -> int:
    """Bytes of an amount such as 8_000_000_000, "8GiB" or "500 MB".

    Raises InputError for anything else.
    """
    if type(amount) is int and amount > 0:
        return amount
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", str(amount), re.IGNORECASE)
    if isinstance(amount, str) and match and float(match[1]) > 0:
        step = 1024 if match[3] else 1000
        return int(float(match[1]) * step ** POWERS[match[2].upper()])
    raise InputError(f'max_memory is {amount!r}; pass bytes, or text such as "8GiB" or "500MB".')


def slice_rows_within(
    budget: int, config: ConcertoConfig, grid_coord: Tensor, itemsize: int, copied: int = 0
) -> int:
    """Rows that the encoder may work on at a time, to stay within `budget` bytes.

    copied: bytes of weights that it copies into another precision at a time. Otherwise as
    `working_memory`. Raises InputError where even the smallest slices would not fit.
    """
    rows = max(len(grid_coord), MIN_SLICE_ROWS)
    while (needed := copied + working_memory(config, grid_coord, itemsize, rows)) > budget:
        if rows <= MIN_SLICE_ROWS:
            raise InputError(
                f"{len(grid_coord):,} voxels need about {needed / 2**20:,.0f} MiB of working "
                f"memory, and max_memory is {budget / 2**20:,.0f} MiB. Raise it, pass a larger "
                "grid_size, or cut the scene."
            )
        rows = max(rows // 2, MIN_SLICE_ROWS)
    return rows


def working_memory(
    config: ConcertoConfig, grid_coord: Tensor, itemsize: int, slice_rows: int
) -> int:
    """Bytes that the encoder takes at the most, beyond its weights and voxels.

    grid_coord: (n, 3) int64 voxels of the finest level. itemsize: bytes of one feature value.
    """
    kept = most = 0
    for voxels, channels in zip(
        _level_sizes(grid_coord, config.stages), config.channels, strict=True
    ):
        features = voxels * channels * itemsize
        # The convolution sums in float32 at least.
        convolved = voxels * channels * max(4, itemsize)
        slices = SLICE_TENSORS * min(slice_rows, voxels) * channels * 4
        blocks = 2 * features + convolved + LAYOUT_BYTES * voxels + slices
        geometry = GEOMETRY_BYTES * voxels
        freed = min(geometry, ALLOCATOR_BYTES)
        most = max(most, kept + freed + blocks, kept + features + geometry)
        kept += features + KEPT_BYTES * voxels
    return most + LIBRARY_BYTES


def _level_sizes(grid_coord: Tensor, stages: int) -> list[int]:
    """Voxels of each level."""
    sizes = [len(grid_coord)]
    for _ in range(stages - 1):
        grid_coord = torch.unique(grid_coord >> 1, dim=0)
        sizes.append(len(grid_coord))
    return sizes
