"""What hides a room from outside: its ceiling, and the walls between it and the eye.

A room is told by its size in metres, by a floor, and by a ceiling above or walls around it; so
objects, sweeps of a street and flat clouds are none, and lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto.visualize.strays import core_box, within

# Metres. A cloud scaled into [-1, 1] is 2 high and so no room; no storey is that low.
LOWEST, HIGHEST = 2.1, 6.0
NARROWEST, WIDEST = 1.5, 40.0
# A floor or a ceiling is a layer three bins high that covers this share of the plan.
BIN, LAYER = 0.1, 3
COVERED = 0.4
# How far below a ceiling its lower parts hang, in bins.
STEP = 8
# What is taller than this at the rim is a wall, and is cut away to this depth, down to a plinth.
TALL, DEPTH, PLINTH = 1.25, 0.8, 0.2
# The plan's resolution for walls, and the share of a strip that may lie outside of its wall: what
# was seen through windows, and noise.
STRIP, OUTSIDE = 0.1, 0.2
# The share of the rim that must be wall where there is no ceiling to tell a room by.
ENCLOSED = 0.5


@dataclass(frozen=True)
class Room:
    """Where a room's floor is, metres, and from where on up its ceiling: infinite if it has none.

    low, high: (3,) float64, the corners of a box that holds it with its noise, but without strays.
    """

    floor: float
    ceiling: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def open_to(self, coord: NDArray[np.float64], azimuth: float) -> NDArray[np.bool_]:
        """(N,) bool: coord (N, 3) less the ceiling and the walls nearest to an eye at `azimuth`."""
        kept = coord[:, 2] < self.ceiling
        rows = np.flatnonzero(kept & within(coord, self.low, self.high))
        # Where a wall grazes a cell it may look low; the same cells moved by half hold more of it.
        for shift in (0.0, 0.5):
            wall, _ = _near_walls(coord[rows], self.floor, azimuth, shift)
            kept[rows[wall]] = False
        return kept


def find_room(coord: NDArray[np.float64]) -> Room | None:
    """The room that coord (N, 3), metres, is a scan of, or None where it is of something else."""
    low, high = core_box(coord)
    width, height = (high - low)[:2], (high - low)[2]
    if width.min() < NARROWEST or width.max() > WIDEST or not LOWEST <= height <= HIGHEST:
        return None
    coord = coord[within(coord, low, high)]
    bins = _bins(coord - low, cell=float(np.clip(width.min() / 20, 0.1, 0.3)))
    # Layers overlap: one begins in each bin.
    layers = np.lib.stride_tricks.sliding_window_view(bins, LAYER, axis=1).max(2)
    covered = np.flatnonzero(layers.mean(0) >= COVERED)
    if len(covered) == 0 or covered[0] * BIN > height / 3:
        return None
    fullest = int(bins[:, covered[0] :][:, :LAYER].sum(0).argmax())
    floor = float(low[2] + (covered[0] + fullest) * BIN)
    ceiling = _ceiling(layers, covered)
    if ceiling is not None:
        return Room(floor, float(low[2] + ceiling * BIN), low - STRIP, high + STRIP)
    sides = [_near_walls(coord, floor, azimuth)[1] for azimuth in np.arange(4) * np.pi / 2]
    return Room(floor, np.inf, low - STRIP, high + STRIP) if np.mean(sides) >= ENCLOSED else None


def _bins(coord: NDArray[np.float64], cell: float) -> NDArray[np.bool_]:
    """(cells, bins) bool: in which bins above each cell of the plan coord (N, 3), from 0 on, is."""
    step = np.floor(coord / (cell, cell, BIN)).astype(np.int64)
    _, cells = np.unique(step[:, 0] * (step[:, 1].max() + 1) + step[:, 1], return_inverse=True)
    bins = np.zeros((cells.max() + 1, step[:, 2].max() + LAYER), dtype=bool)
    bins[cells, step[:, 2]] = True
    return bins


def _ceiling(layers: NDArray[np.bool_], covered: NDArray[np.int64]) -> int | None:
    """The layer, of those `covered`, where the highest ceiling with a floor below it begins."""
    above = covered[covered >= covered[0] + LOWEST / BIN - LAYER]
    if len(above) == 0:
        return None
    roof = layers[:, above[-1]]
    if (layers[:, covered[0]] & roof).sum() < roof.sum() / 2:
        return None
    return int(above[above >= above[-1] - STEP][0])


def _near_walls(
    coord: NDArray[np.float64], floor: float, azimuth: float, shift: float = 0.0
) -> tuple[NDArray[np.bool_], float]:
    """(N,) bool: the points of the walls towards `azimuth`; and the share of that side they cover.

    The plan is cut into strips that run towards the eye. Coming from the eye, the first tall cell
    of a strip is wall if at most a small part of the strip lies before it.

    shift: how far the cells are moved, in cells.
    """
    towards = np.array([np.cos(azimuth), np.sin(azimuth)])
    plan = coord[:, :2] @ np.stack([[-towards[1], towards[0]], -towards], axis=1)
    strip, cell = np.floor((plan - plan.min(0)) / STRIP + shift).astype(np.int64).T
    height = coord[:, 2] - floor
    filled = np.zeros((strip.max() + 1, cell.max() + 1), dtype=bool)
    filled[strip, cell] = True
    tall = np.zeros_like(filled)
    tall[strip[height > TALL], cell[height > TALL]] = True
    first = tall.argmax(1)
    before = np.take_along_axis(filled.cumsum(1), first[:, None], axis=1)[:, 0] - 1
    walled = tall.any(1) & (before <= OUTSIDE * filled.sum(1))
    near = walled[strip] & (cell <= first[strip] + DEPTH / STRIP)
    return near & tall[strip, cell] & (height > PLINTH), float(walled.mean())
