"""Smooth random functions of space, the same on every call: what textures are mixed from.

Values come from one fixed table that repeats after 64 steps; what differs from texture to texture
is where, and how finely, it is read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIDE = 64
_TABLE = np.random.default_rng(20).random((SIDE, SIDE, SIDE), np.float32)
_SCATTER = np.random.default_rng(21).random((2**12, 4), np.float32)


def noise(place: Floats) -> Floats:
    """(n,) smooth values in 0-1 at places (n, 3); it varies over a length of 1."""
    from scipy.ndimage import map_coordinates

    cell = np.floor(place)
    share = place - cell
    smooth = cell + share * share * (3 - 2 * share)
    values = map_coordinates(_TABLE, smooth.T, order=1, mode="grid-wrap", prefilter=False)
    return np.asarray(values, np.float32)


def fractal(place: Floats, octaves: int = 3) -> Floats:
    """(n,) values in 0-1 with detail down to 1 / 2^(octaves - 1)."""
    total = np.zeros(len(place), np.float32)
    for octave in range(octaves):
        total += noise(place * np.float32(2**octave) + np.float32(17.3 * octave)) / 2**octave
    return np.asarray(total / np.float32(2 - 2 ** (1 - octaves)), np.float32)


def scatter(cell: NDArray[np.int64]) -> Floats:
    """(n, 4) random values in 0-1 of cells (n, 2): the same for the same cell."""
    x, y = cell[:, 0], cell[:, 1]
    return np.asarray(_SCATTER[(x * 1619 + y * 31337 + (x * y & 63) * 7) & 4095])


def spots(flat: Floats) -> tuple[Floats, Floats]:
    """Of the randomly scattered points of the plane, one a unit cell: the distance (n,) of places
    (n, 2) to the nearest, and that point's random values (n, 4)."""
    base = np.floor(flat).astype(np.int64)
    nearest = np.full(len(flat), np.inf, np.float32)
    chosen = np.zeros((len(flat), 4), np.float32)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            cell = base + np.array([i, j])
            values = scatter(cell)
            offset = cell.astype(np.float32) + values[:, :2] - flat
            distance = np.sqrt((offset**2).sum(1))
            closer = distance < nearest
            nearest = np.where(closer, distance, nearest)
            chosen[closer] = values[closer]
    return nearest, chosen
