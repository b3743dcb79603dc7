"""A kitchen's row of cabinets along a wall, with sink, stove and fridge, and a bathroom's basin."""

from __future__ import annotations

from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.decor import picture
from concerto.training.prepare.rooms.groups import scatter
from concerto.training.prepare.rooms.items import Item
from concerto.training.prepare.rooms.palette import Palette, chance
from concerto.training.prepare.rooms.room import TRIES, Room
from concerto.training.prepare.rooms.shell import Wall
from concerto.training.prepare.rooms.storage import cabinet
from concerto.training.prepare.rooms.wet import counter, fridge, stove, wash_basin

# Metres from a wall to the back of what stands at it, and between wall cabinets.
GAP = 0.02
# Width of a column of cabinets: metres.
COLUMN = 0.6


def kitchen_row(room: Room) -> None:
    """Cabinets in a row along a wall, sink and stove among them, cabinets above, a fridge."""
    rng, palette = room.rng, room.palette
    depth, height = float(rng.uniform(0.56, 0.64)), float(rng.uniform(0.86, 0.93))
    for count in (int(rng.integers(4, 7)), 4, 3, 2):
        columns = _columns(palette, count, depth, height)
        for _ in range(TRIES):
            wall = room.walls[int(rng.integers(len(room.walls)))]
            if wall.length < count * COLUMN + 0.1:
                continue
            start = float(rng.uniform(0.03, wall.length - count * COLUMN - 0.03))
            row = [
                one.placed(
                    (*wall.point(start + (k + 0.5) * COLUMN, GAP + depth / 2), 0.0), wall.yaw
                )
                for k, column in enumerate(columns)
                for one in column
            ]
            if room.add(*row):
                _complete(room, wall, start, count)
                for one in row:
                    if one.kind is Kind.CABINET and one.tops:
                        scatter(room, one, int(rng.integers(0, 3)))
                return


def washing_place(room: Room) -> None:
    """A basin at a wall, with a cabinet or a picture above it."""
    rng, palette = room.rng, room.palette
    basin = wash_basin(palette)
    back = max(float(one.high[1]) for one in basin)
    half = max(float(one.high[0]) for one in basin)
    for _ in range(TRIES):
        wall = room.walls[int(rng.integers(len(room.walls)))]
        x = float(rng.uniform(half + 0.02, max(half + 0.02, wall.length - half - 0.02)))
        at = (*wall.point(x, back + GAP), 0.0)
        if room.add(*(one.placed(at, wall.yaw) for one in basin)):
            if chance(rng, 0.4):
                room.add(wall.put(cabinet(palette, "wall"), x, 0.001, 1.25))
            elif chance(rng, 0.4):
                room.add(wall.put(picture(palette), x, 0.0, 1.6))
            return


def _columns(palette: Palette, count: int, depth: float, height: float) -> list[list[Item]]:
    sink, hot = (int(k) for k in palette.rng.choice(count, 2, replace=False))
    columns = counter(palette, [COLUMN] * count, sink, depth, height)
    columns[hot] = [stove(palette, depth + 0.02, height)]
    return columns


def _complete(room: Room, wall: Wall, start: float, count: int) -> None:
    """The fridge beside the row where it fits, else anywhere, and cabinets on the wall above."""
    rng, palette = room.rng, room.palette
    cold, end = fridge(palette), start + count * COLUMN
    half = float(cold.high[0]) + 0.02
    for x in (end + half, start - half):
        if half < x < wall.length - half and room.add(wall.put(cold, x, 0.03)):
            break
    else:
        room.along_wall(cold)
    upper, full = cabinet(palette, "wall"), chance(rng, 0.8)
    step = float(upper.size[0]) + 0.003
    for k in range(int(count * COLUMN / step)):
        if full or chance(rng, 0.5):
            room.add(wall.put(upper, start + (k + 0.5) * step, 0.001, 1.45))
