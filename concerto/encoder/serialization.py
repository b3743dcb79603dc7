"""Space-filling curves: the orders in which attention reads a cloud.

Four orders: Morton ("z") and Hilbert, each also with x and y swapped ("trans"). A Hilbert curve
is walked octant by octant from the coarsest level down; where it goes next depends on a state,
a rotated and mirrored frame, so the walk is one small table look-up a level.

The order of a Hilbert curve depends on its depth: a level of empty space at the top turns the
frame by a third. Each cloud keeps the curve of its own depth, whatever else is in the batch, by
starting its walk in the frame that the extra levels of the deepest cloud turn into the upright.
"""

from __future__ import annotations

import torch
from torch import Tensor

from concerto.grids import MAX_DEPTH

ORDERS = ("z", "z-trans", "hilbert", "hilbert-trans")


def serialize(grid_coord: Tensor, batch: Tensor, clouds: int) -> Tensor:
    """Sort each cloud along the four curves.

    grid_coord: (n, 3) int64 in [0, 2^16 - 1). batch: (n,) int64 cloud of each point.
    Returns (4, n) int64: for each of ORDERS the points' rows, cloud after cloud.
    """
    depth = curve_depth(grid_coord, batch, clouds)
    keys = curve_codes(grid_coord, depth[batch]) | batch << 3 * MAX_DEPTH
    return keys.argsort(dim=1, stable=True)


def curve_depth(grid_coord: Tensor, batch: Tensor, clouds: int) -> Tensor:
    """Bits (clouds,) that each cloud's curve needs: bit_length(largest coordinate + 1)."""
    largest = torch.zeros(clouds, dtype=torch.int64, device=grid_coord.device)
    largest = largest.scatter_reduce(0, batch, grid_coord.amax(1), "amax")
    bits = torch.arange(MAX_DEPTH + 1, device=grid_coord.device)
    return ((largest[:, None] + 1) >> bits > 0).sum(1)


def curve_codes(grid_coord: Tensor, depth: Tensor) -> Tensor:
    """Positions along the four curves, (4, n) int64 in the order of ORDERS.

    grid_coord: (n, 3) int64 in [0, 2^depth). depth: (n,) int64, at most 16.
    """
    x, y, z = (_spread_bits(c) for c in grid_coord.unbind(1))
    morton = torch.stack([x << 2 | y << 1 | z, y << 2 | x << 1 | z])
    return torch.cat([morton, _hilbert(morton, depth)])


def _spread_bits(value: Tensor) -> Tensor:
    """Move bit i of a 16-bit number to bit 3i."""
    value = (value | value << 16) & 0x00FF0000FF0000FF
    value = (value | value << 8) & 0x100F00F00F00F00F
    value = (value | value << 4) & 0x10C30C30C30C30C3
    return (value | value << 2) & 0x1249249249249249


def _hilbert(morton: Tensor, depth: Tensor) -> Tensor:
    """Hilbert codes from Morton codes of shape (..., n), for curves of `depth` (n,) bits."""
    steps = torch.tensor(WALK, dtype=torch.int64, device=morton.device)
    upright = [0]
    for _ in range(2):
        upright.append(int(WALK[upright[-1]]) & ~7)
    deepest = int(depth.max())
    # A third of a turn a level: k turns undo themselves after (-k mod 3) more.
    turns = torch.tensor(upright, dtype=torch.int64, device=morton.device)
    state = turns[(depth - deepest) % 3].expand_as(morton)
    code = torch.zeros_like(morton)
    for level in reversed(range(deepest)):
        step = steps[state + (morton >> 3 * level & 7)]
        code = code << 3 | step & 7
        state = step & ~7
    return code


def _walk() -> tuple[int, ...]:
    """The table of the walk: entry 8·state + octant holds 8·(next state) + digit.

    A state says which axis, possibly mirrored, each of the curve's axes is, and whether the digits
    so far had an odd number of ones. Derived from J. Skilling, "Programming the Hilbert curve",
    AIP Conf. Proc. 707 (2004): at each level, for each axis in turn, a set bit mirrors the first
    axis in all finer levels and a clear one exchanges it with this axis; the bits that result are
    a Gray code of the position.
    """
    start = ((0, 1, 2), (0, 0, 0), 0)
    states = {start: 0}
    queue = [start]
    table: list[int] = []
    for axes, mirrored, parity in queue:
        for octant in range(8):
            bits = [(octant >> (2 - a) & 1) ^ m for a, m in zip(axes, mirrored, strict=True)]
            digit, odd = 0, parity
            for bit in bits:
                odd ^= bit
                digit = digit << 1 | odd
            frame = list(zip(axes, mirrored, strict=True))
            for axis, bit in enumerate(bits):
                if bit:
                    frame[0] = (frame[0][0], 1 - frame[0][1])
                else:
                    frame[0], frame[axis] = frame[axis], frame[0]
            new_axes, new_mirrored = zip(*frame, strict=True)
            state = (new_axes, new_mirrored, odd)
            if state not in states:
                states[state] = len(states)
                queue.append(state)
            table.append(8 * states[state] + digit)
    return tuple(table)


# Made once, and not on first use: torch.compile would trace how it is made.
WALK = _walk()
