"""Telling a scan from the few points that a sensor threw far away from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The share of points on each side of each axis that may be strays: one in fifty.
ONE_IN = 50
# How far beyond the rest, in widths of the rest along its longest axis, a point is a stray.
REACH = 0.5


def core_box(
    coord: NDArray[np.float64], reach: float = REACH
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest corner (3,) of the box that holds coord (N, 3) without strays.

    A stray is among the outermost 2 % along an axis, and more than `reach` times the longest width
    of the rest away from it. So a sparse rim or a tall lamp stays, and a reflection far off goes.
    """
    margin = len(coord) // ONE_IN
    ordered = np.partition(coord, (margin, len(coord) - 1 - margin), axis=0)
    low, high = ordered[margin], ordered[len(coord) - 1 - margin]
    slack = reach * (high - low).max()
    kept = coord[within(coord, low - slack, high + slack)]
    return (kept.min(0), kept.max(0)) if len(kept) else (low, high)


def within(
    coord: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(N,) bool: which of coord (N, 3) the box holds, its faces included."""
    return np.logical_and.reduce((coord >= low) & (coord <= high), axis=1)  # type: ignore[no-any-return]
