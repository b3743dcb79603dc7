"""How large a slice of rows the encoder may work on within a bound on memory."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from concerto.config import ConcertoConfig
from concerto.errors import InputError

# High-water marks of whole encodings, measured from outside on rooms of 10,000 to 400,000 voxels
# with all presets, and rounded up: tensors of (n, C) alive at once in a block, bytes of geometry
# a voxel (curves, patches, neighbours), and what the libraries keep for themselves.
BLOCK_TENSORS = 9
GEOMETRY_BYTES = 1800
LIBRARY_BYTES = 128 * 2**20
# Within a slice: gathered rows, qkv, heads, and the hidden layer before and after its GELU.
SLICE_TENSORS = 14
# Slices below this cost time and save nothing.
MIN_SLICE_ROWS = 512

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
    budget: int, config: ConcertoConfig, grid_coord: Tensor, itemsize: int
) -> int:
    """Rows that the encoder may work on at a time, to stay within `budget` bytes.

    grid_coord: (n, 3) int64 voxels of the finest level. itemsize: bytes of one feature value.

    Raises InputError where even the smallest slices would not fit.
    """
    kept = LIBRARY_BYTES
    fitting = len(grid_coord)
    for voxels, channels in zip(
        _level_sizes(grid_coord, config.stages), config.channels, strict=True
    ):
        tensor = voxels * channels * itemsize
        fixed = kept + BLOCK_TENSORS * tensor + GEOMETRY_BYTES * voxels
        row = SLICE_TENSORS * channels * itemsize
        least = fixed + min(voxels, MIN_SLICE_ROWS) * row
        if least > budget:
            raise InputError(
                f"{len(grid_coord):,} voxels need about {least / 2**20:,.0f} MiB of working "
                f"memory, and max_memory is {budget / 2**20:,.0f} MiB. Raise it, pass a larger "
                "grid_size, or cut the scene."
            )
        rows = (budget - fixed) // row
        if rows < voxels:
            fitting = min(fitting, rows)
        kept += tensor
    return max(fitting, 1)


def _level_sizes(grid_coord: Tensor, stages: int) -> list[int]:
    """Voxels of each level."""
    sizes = [len(grid_coord)]
    for _ in range(stages - 1):
        grid_coord = torch.unique(grid_coord >> 1, dim=0)
        sizes.append(len(grid_coord))
    return sizes
