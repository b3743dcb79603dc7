"""One room from its number: size, walls, openings, then furniture for what the room is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from concerto.training.prepare.rooms import textures as made_of
from concerto.training.prepare.rooms.colors import grey
from concerto.training.prepare.rooms.decor import curtain
from concerto.training.prepare.rooms.furnish import STYLES, furnish
from concerto.training.prepare.rooms.items import Solids
from concerto.training.prepare.rooms.palette import (
    Palette,
    chance,
    floor_surface,
    lacquer,
    make_palette,
    pick,
    wall_surface,
)
from concerto.training.prepare.rooms.parts import Material
from concerto.training.prepare.rooms.room import Room
from concerto.training.prepare.rooms.shell import (
    Opening,
    Wall,
    build_door,
    build_wall,
    build_window,
    four_walls,
    six_walls,
    surfaces,
)

# Sizes of rooms are multiples of this: metres.
STEP = 0.02
# Least and most width and depth by what the room is for: metres.
SIZES = {
    "living": (3.0, 3.9),
    "bedroom": (2.8, 3.7),
    "office": (2.6, 3.6),
    "kitchen": (2.7, 3.7),
    "bathroom": (2.2, 3.0),
    "dining": (2.8, 3.6),
}
# Square metres of a floor: larger rooms have more points than a sample needs.
MOST_AREA = 11.5
# How often a room is for what, in the order of STYLES. Numbers step through them evenly, so that
# few rooms in a row have all.
SHARES = (0.2, 0.22, 0.13, 0.12, 0.22, 0.11)
EVENLY = 0.6180339887  # the golden ratio's fraction
# Share of the rooms that are L-shaped, and the least length of a wall with a door or a window.
L_SHAPED = 0.2
WITH_OPENING = 1.6


def build_room(seed: int, number: int) -> Room:
    """Room `number` of an endless row of rooms, one row a seed; the same every time."""
    rng = np.random.default_rng([seed, number])
    style = _style(seed, number)
    sides = rng.uniform(*SIZES[style], size=2)
    sides *= min(1.0, float(np.sqrt(MOST_AREA / sides.prod())))
    width, depth, height = (
        float(np.round(side / STEP) * STEP) for side in (*sides, rng.uniform(2.3, 2.65))
    )
    palette = make_palette(rng)
    notch = None
    if style != "bathroom" and chance(rng, L_SHAPED):
        notch = _notch(width, depth, rng)
    walls = six_walls(width, depth, notch) if notch else four_walls(width, depth)
    walls = _open(walls, height, style, rng)
    room = Room(style, (width, depth, height), palette, walls, [])
    if notch is not None:
        room.blocked.append(_block(room.size, notch))
    _add_shell(room)
    furnish(room)
    return room


def _style(seed: int, number: int) -> str:
    at = (np.random.default_rng(seed).random() + number * EVENLY) % 1
    return STYLES[min(int(np.searchsorted(np.cumsum(SHARES), at)), len(STYLES) - 1)]


def _notch(width: float, depth: float, rng: np.random.Generator) -> tuple[float, float]:
    """Width and depth of the corner that an L-shaped room lacks."""
    wide, deep = (rng.uniform(0.25, 0.45, 2) * (width, depth)).clip(0.7) / STEP
    return float(np.round(wide) * STEP), float(np.round(deep) * STEP)


def _block(size: tuple[float, float, float], notch: tuple[float, float]) -> Solids:
    half = np.array([notch]) / 2
    return Solids(
        center=np.array([size[:2]]) - half,
        half=half,
        turn=np.zeros(1),
        low=np.array([-1.0]),
        high=np.array([size[2] + 1]),
    )


def _open(walls: list[Wall], height: float, style: str, rng: np.random.Generator) -> list[Wall]:
    """The walls with a door or two and windows."""
    order = [int(k) for k in rng.permutation(len(walls)) if walls[k].length > WITH_OPENING]
    doors = order[: 1 + int(rng.random() < 0.2 and len(order) > 2)]
    windows = [k for k in order[len(doors) :] if rng.random() < 0.55]
    if not windows:
        windows = [order[-1]]
    made = []
    for number, wall in enumerate(walls):
        holes: list[Opening] = []
        if number in doors:
            wide = rng.uniform(0.75, 0.95)
            left = rng.uniform(0.12, wall.length - wide - 0.12)
            holes.append(Opening((left, left + wide), (0.0, rng.uniform(1.95, 2.1)), True))
        elif number in windows:
            holes += _windows(wall.length, height, style, rng)
        made.append(replace(wall, openings=tuple(holes)))
    return made


def _windows(length: float, height: float, style: str, rng: np.random.Generator) -> list[Opening]:
    sill = float(rng.choice([0.15, 0.85, 0.95, 1.05]))
    if style in ("bathroom", "kitchen"):
        sill = rng.uniform(1.0, 1.5)
    top = min(rng.uniform(1.95, 2.25), height - 0.2)
    count = 2 if length > 4 and chance(rng, 0.4) else 1
    room = length / count
    holes = []
    for number in range(count):
        wide = min(rng.uniform(0.6, 1.9), room - 0.8)
        left = number * room + rng.uniform(0.3, room - wide - 0.3)
        holes.append(Opening((left, left + wide), (sill, top), False))
    return holes


def _add_shell(room: Room) -> None:
    rng, palette = room.rng, room.palette
    wet = room.style == "bathroom"
    floor = floor_surface(rng, wet or (room.style == "kitchen" and chance(rng, 0.6)))
    white = Material(made_of.plain(grey(rng, (0.85, 0.97)), rng, 0.02))
    ceiling = white if chance(rng, 0.85) else Material(made_of.planks(palette.wood().texture, rng))
    room.shell += surfaces(*room.size, floor, ceiling)
    main = wall_surface(rng, wet)
    accent = wall_surface(rng, wet, accent=True) if chance(rng, 0.35) else main
    skirting = pick(rng, (None, lacquer(rng), palette.wood())) if not wet else None
    special = int(rng.integers(4))
    day = chance(rng, 0.85)
    daylight = rng.uniform(2.0, 5.0) if day else rng.uniform(0.02, 0.1)
    if day and chance(rng, 0.4):
        room.sun = _sun(room)
    for number, wall in enumerate(room.walls):
        surface = accent if number == special else main
        room.shell.append(build_wall(wall, room.size[2], surface, skirting))
        for hole in wall.openings:
            if hole.is_door:
                room.items.append(build_door(wall, hole, palette))
                room.keep(wall, (hole.x[0] - 0.08, hole.x[1] + 0.08), 0.85, (0, room.size[2]))
            else:
                _add_window(room, wall, hole, palette, daylight)


def _sun(room: Room) -> NDArray[np.float64]:
    """The direction to a sun that stands before a window."""
    rng = room.rng
    wall = pick(rng, [wall for wall in room.walls if any(not o.is_door for o in wall.openings)])
    around = np.radians(wall.yaw + 90 + rng.uniform(-55, 55))
    up = np.radians(rng.uniform(18, 55))
    flat = np.cos(up)
    return np.array([flat * np.cos(around), flat * np.sin(around), np.sin(up)])


def _add_window(room: Room, wall: Wall, hole: Opening, palette: Palette, glow: float) -> None:
    rng = room.rng
    room.items.append(build_window(wall, hole, palette, glow))
    if chance(rng, 0.65) and room.style != "bathroom":
        high = min(hole.z[1] + rng.uniform(0.05, 0.2), room.size[2] - 0.06)
        low = max(0.03, hole.z[0] - 0.15) if chance(rng, 0.4) else 0.03
        middle = sum(hole.x) / 2
        hung = curtain(palette, hole.x[1] - hole.x[0], high, low)
        room.add(wall.put(hung, middle, 0.07))
    room.keep(wall, hole.x, 0.35, (hole.z[0] + 0.05, hole.z[1]))
