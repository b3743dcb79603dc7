"""Bringing a cloud into a room: z up, the floor at zero, and, of unknown scale, 3 m high.

Up is found by `upright`. The floor is a plane found by RANSAC among the points whose normals point
up: of the levels that have (nearly) nothing below, the one that holds the most points; a plane
fitted to these corrects what tilt is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.upright import rotation_to_z, upright

# none: as the poses have it. up: z up. room: z up, the floor at 0, HEIGHT high.
Align = Literal["none", "up", "room"]
# What the video variant saw in training: lifted rooms scaled to about this height (m).
HEIGHT = 3.0
# Normals this near to up are a floor's, or a table's.
LEVEL = np.cos(np.radians(15))
# Share of the cloud's height that a floor may be rough by, and share of points that may lie below.
ROUGH, BELOW = 0.02, 0.03
# Fewer points than this share of all are no floor, nor are fewer than a plane is fitted to.
FEWEST, PLANE = 0.01, 3
TRIES = 256
# The share of points at either end that says nothing of a room's height.
STRAYS = 0.005
# A floor that leans more than this against up is a ramp, or no floor.
MOST_TILT = np.cos(np.radians(15))

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Alignment:
    """p ↦ scale · rotation · p + shift, and what it was found by.

    rotation: (3, 3). scale: factor on lengths. shift: (3,), in units after scaling. floor: share
    of the points that lie on the floor, None where none was looked for or found.
    """

    rotation: NDArray[np.float64]
    scale: float = 1.0
    shift: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    floor: float | None = None

    def points(self, coord: Floats) -> NDArray[np.float32]:
        """Points (n, 3), brought there."""
        return np.asarray(
            self.scale * (coord @ self.rotation.T) + self.shift, dtype=np.float32, order="C"
        )

    def pose(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """A camera-to-world pose (4, 4), brought there: depths seen from it are to be scaled."""
        moved = np.array(pose)
        moved[:3, :3] = self.rotation @ pose[:3, :3]
        moved[:3, 3] = self.scale * self.rotation @ pose[:3, 3] + self.shift
        return moved

    def __str__(self) -> str:
        turned = np.degrees(np.arccos(np.clip(self.rotation[2, 2], -1, 1)))
        told = f"turned by {turned:.0f}° to z up"
        if self.floor is not None:
            told += f", floor at 0 ({self.floor:.0%} of the points lie on it)"
        if self.scale != 1:
            told += f", scaled by {self.scale:.4g} to a height of {HEIGHT:g} m"
        return told


def check_align(align: Any) -> None:
    """Raise InputError where it is no `Align`."""
    if align not in get_args(Align):
        raise InputError(f'align is {align!r}; it must be "none", "up" or "room".')


def find_alignment(
    coord: Floats, normal: Floats, poses: Sequence[NDArray[np.float64]], align: Align
) -> Alignment | None:
    """How to bring a cloud into a room; None for "none".

    coord, normal: (n, 3). poses: of its frames, (4, 4) camera to world.

    Raises InputError where a cloud to be scaled has no height.
    """
    check_align(align)
    if align == "none":
        return None
    turned = Alignment(upright(normal, poses))
    if align == "up":
        return turned
    return _into_room(coord, normal, turned)


def _into_room(coord: Floats, normal: Floats, turned: Alignment) -> Alignment:
    floor = _floor(turned.points(coord), normal @ turned.rotation.T)
    if floor is not None:
        turned = replace(turned, rotation=rotation_to_z(floor.normal) @ turned.rotation)
    z = coord @ turned.rotation[2]
    low, high = np.quantile(z, [STRAYS, 1 - STRAYS])
    share = None
    if floor is not None:
        low, share = float(np.median(z[floor.rows])), len(floor.rows) / len(z)
    if not high > low:
        raise InputError("The cloud has no height to scale to a room's; it is flat, or empty.")
    scale = HEIGHT / float(high - low)
    return Alignment(turned.rotation, scale, np.array([0, 0, -low * scale]), share)


@dataclass(frozen=True)
class _Floor:
    """A plane's unit normal (3,), and the points on it."""

    normal: NDArray[np.float64]
    rows: NDArray[np.int64]


def _floor(coord: Floats, normal: Floats) -> _Floor | None:
    """The floor of an upright cloud."""
    z = coord[:, 2].astype(np.float64)
    low, high = np.quantile(z, [STRAYS, 1 - STRAYS])
    close = ROUGH * (high - low)
    level = (normal[:, 2] > LEVEL).nonzero()[0]
    fewest = max(PLANE, FEWEST * len(z))
    if len(level) < fewest:
        return None
    tried = np.random.default_rng(0).choice(level, min(TRIES, len(level)), replace=False)
    heights, ordered, all_ordered = z[tried], np.sort(z[level]), np.sort(z)
    held = np.searchsorted(ordered, heights + close) - np.searchsorted(ordered, heights - close)
    below = np.searchsorted(all_ordered, heights - 2 * close) / len(z)
    held = np.where(below <= BELOW, held, 0)
    best = int(held.argmax())
    rows = level[np.abs(z[level] - heights[best]) <= close]
    if min(held[best], len(rows)) < fewest:
        return None
    middle = coord[rows].mean(0)
    _, _, axes = np.linalg.svd((coord[rows] - middle).astype(np.float64), full_matrices=False)
    up = axes[2] * np.sign(axes[2][2] or 1)
    if up[2] < MOST_TILT:
        up = np.array([0.0, 0.0, 1.0])
    return _Floor(up, rows)
