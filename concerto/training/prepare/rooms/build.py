"""One room from its number: size, walls, openings, then furniture for what the room is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from concerto.training.prepare.rooms import textures as made_of
from concerto.training.prepare.rooms.colors import grey
from concerto.training.prepare.rooms.decor import curtain
from concerto.training.prepare.rooms.furnish import STYLES, furnish
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
    surfaces,
)

# Sizes of rooms are multiples of this: metres.
STEP = 0.02
# Least and most width and depth by what the room is for: metres.
SIZES = {
    "living": (3.4, 5.4),
    "bedroom": (2.9, 4.5),
    "office": (2.9, 5.2),
    "kitchen": (2.7, 4.4),
    "bathroom": (2.2, 3.3),
    "dining": (3.0, 4.8),
}


def build_room(seed: int, number: int) -> Room:
    """Room `number` of an endless row of rooms, one row a seed; the same every time."""
    rng = np.random.default_rng([seed, number])
    style = STYLES[int(rng.choice(len(STYLES), p=[0.22, 0.2, 0.17, 0.15, 0.14, 0.12]))]
    width, depth, height = (
        float(np.round(side / STEP) * STEP)
        for side in (*rng.uniform(*SIZES[style], size=2), rng.uniform(2.35, 3.0))
    )
    palette = make_palette(rng)
    walls = _open(four_walls(width, depth), height, style, rng)
    room = Room(style, (width, depth, height), palette, walls, [])
    _add_shell(room)
    furnish(room)
    return room


def _open(walls: list[Wall], height: float, style: str, rng: np.random.Generator) -> list[Wall]:
    """The walls with a door or two and windows."""
    order = rng.permutation(4)
    doors = set(order[: 1 + int(rng.random() < 0.2)])
    windows = [k for k in order[1:] if rng.random() < 0.55]
    if not windows:
        windows = [int(order[-1])]
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
    accent = wall_surface(rng, wet) if chance(rng, 0.25) else main
    skirting = pick(rng, (None, lacquer(rng), palette.wood())) if not wet else None
    special = int(rng.integers(4))
    daylight = rng.uniform(2.0, 5.0) if chance(rng, 0.85) else rng.uniform(0.02, 0.1)
    for number, wall in enumerate(room.walls):
        surface = accent if number == special else main
        room.shell.append(build_wall(wall, room.size[2], surface, skirting))
        for hole in wall.openings:
            if hole.is_door:
                room.items.append(build_door(wall, hole, palette))
                room.keep(wall, (hole.x[0] - 0.08, hole.x[1] + 0.08), 0.85, (0, room.size[2]))
            else:
                _add_window(room, wall, hole, palette, daylight)


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
