"""The room itself: floor, ceiling, walls with openings, doors and windows in them.

A wall has a frame like a thing that stands before it: x along the wall, from 0 to its length, y out
of the room, z up. So what is built at its front is in the room.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.items import Item
from concerto.training.prepare.rooms.palette import Palette, chance, lacquer, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.prints import outside
from concerto.training.prepare.rooms.shapes import about, ball, bar, box

THICK = 0.22
SKIRTING = 0.012


@dataclass(frozen=True)
class Opening:
    """A hole in a wall, in the wall's frame."""

    x: tuple[float, float]
    z: tuple[float, float]
    is_door: bool


@dataclass(frozen=True)
class Wall:
    """One side of the room. start: where its frame's origin is; yaw: how it is turned (degrees).
    cut: metres that it ends before its length, lest it lie in the face of the next one."""

    start: tuple[float, float]
    yaw: float
    length: float
    openings: tuple[Opening, ...] = ()
    cut: float = 0.0

    def point(self, x: float, inward: float) -> tuple[float, float]:
        """The place in the room that is `inward` metres before the wall at x."""
        cos, sin = np.cos(np.radians(self.yaw)), np.sin(np.radians(self.yaw))
        return (
            float(self.start[0] + cos * x + sin * inward),
            float(self.start[1] + sin * x - cos * inward),
        )

    def put(self, item: Item, x: float, gap: float, z: float = 0.0) -> Item:
        """The thing with its back `gap` metres before the wall, its middle at x."""
        inward = gap + float(item.high[1])
        return item.placed((*self.point(x, inward), z), self.yaw)


def four_walls(width: float, depth: float) -> list[Wall]:
    """The sides of the floor from (0, 0) to (width, depth)."""
    return [
        Wall((width, 0), 180, width),
        Wall((width, depth), -90, depth),
        Wall((0, depth), 0, width),
        Wall((0, 0), 90, depth),
    ]


def six_walls(width: float, depth: float, notch: tuple[float, float]) -> list[Wall]:
    """The sides of a floor that lacks its corner at (width, depth): an L. notch: what it lacks."""
    x, y = width - notch[0], depth - notch[1]
    return [
        Wall((width, 0), 180, width),
        Wall((width, y), -90, y),
        Wall((0, depth), 0, x),
        Wall((0, 0), 90, depth),
        Wall((x, depth), -90, notch[1], cut=1e-3),
        Wall((x, y), 0, notch[0]),
    ]


def surfaces(
    width: float, depth: float, height: float, floor: Material, ceiling: Material
) -> list[Item]:
    """Floor and ceiling."""
    x, y = (-THICK, width + THICK), (-THICK, depth + THICK)
    return [
        Item(Kind.FLOOR, (box(floor, x, y, (-0.1, 0)),)),
        Item(Kind.CEILING, (box(ceiling, x, y, (height, height + 0.1)),)),
    ]


def build_wall(wall: Wall, height: float, surface: Material, skirting: Material | None) -> Item:
    """A wall with its openings, and a skirting board where there is one."""
    edges = sorted({0.0, wall.length - wall.cut, *(e for hole in wall.openings for e in hole.x)})
    levels = sorted({0.0, height, *(e for hole in wall.openings for e in hole.z)})
    parts: list[Part] = []
    for left, right in itertools.pairwise(edges):
        for low, high in itertools.pairwise(levels):
            middle = (left + right) / 2, (low + high) / 2
            if not any(_inside(middle, hole) for hole in wall.openings):
                parts.append(box(surface, (left, right), (0, THICK), (low, high)))
    if skirting is not None:
        doors = sorted(hole.x for hole in wall.openings if hole.is_door)
        ends = [0.0, *(e for x in doors for e in (x[0] - 0.07, x[1] + 0.07)), wall.length]
        for left, right in zip(ends[::2], ends[1::2], strict=True):
            if right > left:
                parts.append(box(skirting, (left, right), (-SKIRTING, 0), (0, 0.08)))
    return Item(Kind.WALL, tuple(parts), at=(*wall.start, 0), yaw=wall.yaw)


def build_door(wall: Wall, hole: Opening, palette: Palette) -> Item:
    """A door in its frame: flat, with panels, or with panes."""
    rng = palette.rng
    leaf, frame = palette.body(), palette.body() if chance(rng, 0.5) else lacquer(rng)
    wide, high = hole.x[1] - hole.x[0], hole.z[1]
    parts = [
        box(frame, (-0.07, 0.0), (-0.015, 0), (0, high + 0.07)),
        box(frame, (wide, wide + 0.07), (-0.015, 0), (0, high + 0.07)),
        box(frame, (0, wide), (-0.015, 0), (high, high + 0.07)),
        box(leaf, (0.01, wide - 0.01), (0.02, 0.06), (0.006, high - 0.005)),
    ]
    rows, columns = pick(rng, ((1, 1), (2, 1), (3, 1), (2, 2), (3, 2)))
    if chance(rng, 0.75):
        x = np.linspace(0.1, wide - 0.1, columns + 1)
        z = np.linspace(0.12, high - 0.12, rows + 1)
        inlay = pick(rng, (leaf, palette.body(), lacquer(rng)))
        parts += [
            box(inlay, (a + 0.02, b - 0.02), (0.008, 0.02), (c + 0.02, d - 0.02))
            for a, b in itertools.pairwise(x)
            for c, d in itertools.pairwise(z)
        ]
    metal, side = palette.metal(), pick(rng, (0.05, wide - 0.05))
    if chance(rng, 0.7):
        reach = side + 0.11 * (1 if side < wide / 2 else -1)
        parts.append(bar(metal, (side, 0.02, 1.02), (side, -0.04, 1.02), 0.009))
        parts.append(bar(metal, (side, -0.04, 1.02), (reach, -0.04, 1.02), 0.01))
    else:
        parts.append(ball(metal, 0.03, (side, -0.02, 1.02)))
    at = wall.point(hole.x[0], 0)
    return Item(Kind.DOOR, tuple(parts), rests="wall", at=(*at, 0), yaw=wall.yaw)


def build_window(wall: Wall, hole: Opening, palette: Palette, glow: float) -> Item:
    """A window in its opening: frame, bars, panes with what is outside, a sill. Its parts begin
    with the panes."""
    rng = palette.rng
    frame = lacquer(rng) if chance(rng, 0.6) else palette.wood()
    wide, high = hole.x[1] - hole.x[0], hole.z[1] - hole.z[0]
    half, rim = (wide / 2, high / 2), rng.uniform(0.035, 0.07)
    view = Material(outside((wide, high), rng), gloss=0.3, glow=glow, upright=True, holes=0.5)
    parts = [box(view, (-half[0], half[0]), (0.1, 0.11), (-half[1], half[1]))]
    y = (0.06, 0.12)
    for s in (-1, 1):
        parts.append(box(frame, about(s * (half[0] - rim / 2), rim / 2), y, (-half[1], half[1])))
        parts.append(
            box(frame, (-half[0] + rim, half[0] - rim), y, about(s * (half[1] - rim / 2), rim / 2))
        )
    inner = (-half[0] + rim, half[0] - rim), (-half[1] + rim, half[1] - rim)
    columns = np.linspace(-half[0], half[0], int(rng.integers(1, 4)) + 1)[1:-1]
    rows = np.linspace(-half[1], half[1], int(rng.integers(1, 4)) + 1)[1:-1]
    parts += [box(frame, about(place, rim * 0.6), y, inner[1]) for place in columns]
    parts += [box(frame, inner[0], (0.07, 0.115), about(place, 0.012)) for place in rows]
    if chance(rng, 0.6):
        board = palette.stone() if chance(rng, 0.4) else frame
        parts.append(
            box(
                board, (-half[0] - 0.05, half[0] + 0.05), (-0.06, 0.06), (-half[1] - 0.03, -half[1])
            )
        )
    at = wall.point(sum(hole.x) / 2, 0)
    return Item(Kind.WINDOW, tuple(parts), rests="wall", at=(*at, sum(hole.z) / 2), yaw=wall.yaw)


def _inside(place: tuple[float, float], hole: Opening) -> bool:
    return hole.x[0] < place[0] < hole.x[1] and hole.z[0] < place[1] < hole.z[1]
