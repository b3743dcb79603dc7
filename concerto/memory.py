"""How large a slice of rows fits into a bound on memory."""

from __future__ import annotations

import re

from concerto.config import ConcertoConfig
from concerto.errors import InputError

UNITS = {"": 1, "K": 1, "M": 2, "G": 3, "T": 4}

# Measured high-water marks, in tensors of (n, C) that live at once outside slices: the residual
# stream, the branch under way, and the copies around a gather; and in bytes a voxel of geometry
# (curves, patches, neighbours) while it is worked out.
STREAM_COPIES = 7
GEOMETRY_BYTES = 1400
# Within a slice: gathered rows, qkv, heads, and the hidden layer before and after its GELU.
SLICE_COPIES = 14
# Slices below this cost time and save nothing.
MIN_SLICE_ROWS = 1024


def parse_memory(amount: int | str) -> int:
    """Bytes of an amount such as 8_000_000_000, "8GiB" or "500 MB".

    Raises InputError for anything else.
    """
    if isinstance(amount, int) and not isinstance(amount, bool) and amount > 0:
        return amount
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", str(amount), re.IGNORECASE)
    if isinstance(amount, str) and match and float(match[1]) > 0:
        step = 1024 if match[3] else 1000
        unit = match[2].upper()
        return int(float(match[1]) * step ** (UNITS[unit] if unit else 0))
    raise InputError(f'max_memory is {amount!r}; pass bytes, or text such as "8GiB" or "500MB".')


def slice_rows_within(budget: int, config: ConcertoConfig, voxels: int, itemsize: int) -> int:
    """Rows that the encoder may work on at a time, to stay within `budget` bytes of working memory.

    voxels: n of the finest level. itemsize: bytes of one feature value.

    Raises InputError where even the smallest slices would not fit.
    """
    # Each level has at most as many voxels as the one before; surfaces leave about a third.
    widest = max(config.channels[0], max(config.channels) // 4)
    fixed = voxels * (STREAM_COPIES * widest * itemsize + GEOMETRY_BYTES)
    row = SLICE_COPIES * max(config.channels) * itemsize
    if fixed + MIN_SLICE_ROWS * row > budget:
        least = (fixed + MIN_SLICE_ROWS * row) / 2**30
        raise InputError(
            f"{voxels:,} voxels need about {least:.2g} GiB of working memory, and max_memory is "
            f"{budget / 2**30:.2g} GiB. Raise it, pass a larger grid_size, or cut the scene."
        )
    return int((budget - fixed) // row)
