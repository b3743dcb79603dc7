"""Things that belong together: a sofa and its table, a bed and what is beside it, a desk and its
chair, a table and its chairs, a shelf and what is in it."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms.beds import leaning_pillow, lying_pillow
from concerto.training.prepare.rooms.boxes import container
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.clutter import clutter
from concerto.training.prepare.rooms.decor import monitor, rug, television
from concerto.training.prepare.rooms.items import Item, Top
from concerto.training.prepare.rooms.lamps import floor_lamp, pendant, table_lamp
from concerto.training.prepare.rooms.palette import chance, pick
from concerto.training.prepare.rooms.plants import plant
from concerto.training.prepare.rooms.room import Room
from concerto.training.prepare.rooms.seats import chair, office_chair, sofa
from concerto.training.prepare.rooms.storage import books, cabinet, shelf
from concerto.training.prepare.rooms.tables import desk, table


def sofa_group(room: Room, seat: Item) -> Item | None:
    """A sofa at a wall or free, with cushions, and a table and a rug before it."""
    rng, palette = room.rng, room.palette
    if chance(rng, 0.8):
        found = room.along_wall(seat)
        placed = found[1] if found else None
    else:
        placed = seat.placed(middle(room, 0.15), pick(rng, (0.0, 90.0, 180.0, 270.0)))
        placed = placed if room.add(placed) else None
    if placed is None:
        return None
    front = float(placed.low[1])
    low = table(palette, "coffee")
    gap = front - rng.uniform(0.3, 0.5) - float(low.high[1])
    set_down = room.beside(placed, low, (0.0, gap, 0.0), 0.0)
    if chance(rng, 0.6):
        size = float(rng.uniform(1.4, 2.4)), float(rng.uniform(1.0, 1.6))
        _lay_rug(room, placed, size, front - 0.2 - size[1] / 2)
    if set_down is not None:
        scatter(room, set_down, int(rng.integers(0, 5)))
    for _ in range(int(rng.integers(0, 5))):
        _lean(room, placed)
    for side in (-1, 1):
        if chance(rng, 0.45):
            reach = float(placed.high[0])
            small = table(palette, "side") if chance(rng, 0.6) else floor_lamp(palette)
            x = side * (reach + float(small.high[0]) + 0.05)
            got = room.beside(
                placed, small, (x, float(placed.high[1]) - float(small.high[1]), 0.0), 0.0
            )
            if got is not None and got.kind is Kind.TABLE:
                room.on_top(got, table_lamp(palette) if chance(rng, 0.6) else clutter(palette))
    return placed


def armchairs(room: Room, seat: Item) -> None:
    palette, rng = room.palette, room.rng
    front = float(seat.low[1])
    for side in (-1, 1):
        if chance(rng, 0.6):
            one = sofa(palette, 1) if chance(rng, 0.6) else chair(palette)
            x = side * (float(seat.high[0]) + rng.uniform(0.1, 0.5))
            room.beside(
                seat, one, (x, front - rng.uniform(0.5, 0.9), 0.0), side * -rng.uniform(50, 110)
            )


def media(room: Room, seat: Item | None) -> None:
    """A television across from the sofa where there is one: on the wall, or on a low cabinet."""
    rng, palette = room.rng, room.palette
    walls = room.walls
    if seat is not None:
        walls = [wall for wall in walls if abs((wall.yaw - seat.yaw) % 360 - 180) < 1] or walls
    if chance(rng, 0.3):
        room.hang(television(palette, on_wall=True), rng.uniform(1.1, 1.4), walls)
        return
    found = room.along_wall(cabinet(palette, "media"), walls) or room.along_wall(
        cabinet(palette, "media")
    )
    if found is not None:
        room.on_top(found[1], television(palette, on_wall=False))
        scatter(room, found[1], int(rng.integers(0, 4)))


def make_bed(room: Room, placed: Item) -> None:
    rng, palette = room.rng, room.palette
    top = placed.tops[0]
    wide = top.x[1] - top.x[0]
    count = 1 if wide < 1.2 else 2
    for number in range(count):
        one = lying_pillow(palette, wide / count - 0.02, top.y[1] - top.y[0])
        x = top.x[0] + (number + 0.5) * wide / count
        y = top.y[1] - float(one.high[1])
        at = placed.to_room(np.array([[x, y, top.z]]))[0]
        room.add(one.placed((float(at[0]), float(at[1]), float(at[2])), placed.yaw), free=False)
    for side in (-1, 1):
        if chance(rng, 0.75):
            small = cabinet(palette, "nightstand") if chance(rng, 0.8) else table(palette, "side")
            x = side * (
                max(float(placed.high[0]), -float(placed.low[0])) + float(small.high[0]) + 0.03
            )
            y = float(placed.high[1]) - float(small.high[1]) - 0.01
            got = room.beside(placed, small, (x, y, 0.0), 0.0)
            if got is not None:
                room.on_top(got, table_lamp(palette)) if chance(rng, 0.7) else None
                scatter(room, got, int(rng.integers(0, 3)))
    if chance(rng, 0.45):
        _lay_rug(room, placed, (float(rng.uniform(1.6, 2.6)), float(rng.uniform(1.2, 1.8))), -0.6)


def desk_place(room: Room) -> None:
    """A desk at a wall with a chair, screens, a keyboard, a lamp."""
    rng, palette = room.rng, room.palette
    found = room.along_wall(desk(palette))
    if found is None:
        return
    place = found[1]
    seat = office_chair(palette) if chance(rng, 0.65) else chair(palette)
    _sit(room, place, seat, (rng.uniform(-0.1, 0.1), float(place.low[1])), 180.0)
    top = place.tops[0]
    back = Top(top.x, (top.y[1] - 0.28, top.y[1]), top.z, top.clear)
    for _ in range(pick(rng, (1, 1, 1, 2, 2))):
        room.on_top(place, monitor(palette), back, yaw=15)
    if chance(rng, 0.5):
        room.on_top(place, table_lamp(palette), back)
    scatter(room, place, int(rng.integers(1, 6)))
    if chance(rng, 0.25):
        room.on_top(place, books(palette, 0.4, 0.25, 0.4), back)


def dining_group(room: Room, central: bool = False) -> None:
    """A table with chairs that face it, on a rug at times, below a lamp at times."""
    rng, palette = room.rng, room.palette
    board = table(palette)
    turn = pick(rng, (0.0, 90.0)) + (rng.uniform(-8, 8) if chance(rng, 0.2) else 0.0)
    placed = None
    for _ in range(20):
        one = board.placed(middle(room, 0.08 if central else 0.3), turn)
        if room.add(one):
            placed = one
            break
    if placed is None:
        return
    width, depth = placed.size[:2]
    seat = chair(palette)
    spots = [
        (x, s * depth / 2)
        for s in (-1, 1)
        for x in ((0.0,) if width < 1.3 else (-width / 4, width / 4))
    ]
    spots += [(s * width / 2, 0.0) for s in (-1, 1)]
    for x, y in spots:
        if chance(rng, 0.8):
            toward = float(np.degrees(np.arctan2(-x if y == 0 else 0.0, y)))
            _sit(room, placed, seat, (x, y), toward)
    if chance(rng, 0.4):
        more = rng.uniform(0.8, 1.4, 2)
        _lay_rug(room, placed, (float(width + more[0]), float(depth + more[1])), 0.0)
    if chance(rng, 0.6):
        lamp = pendant(palette, room.size[2])
        room.add(lamp.placed((*placed.at[:2], room.size[2]), 0.0), free=False)
    scatter(room, placed, int(rng.integers(0, 7)))


def bookcase(room: Room, low: bool) -> None:
    """A shelf filled with books and other things."""
    found = room.along_wall(shelf(room.palette, low))
    if found is not None:
        fill(room, found[1])


def fill(room: Room, case: Item) -> None:
    rng, palette = room.rng, room.palette
    empty = rng.uniform(0.05, 0.4)
    books_share = rng.uniform(0.4, 0.95)
    for top in case.tops:
        for _ in range(int(rng.integers(1, 4))):
            if chance(rng, empty):
                continue
            if chance(rng, books_share):
                thing = books(palette, top.x[1] - top.x[0], top.y[1] - top.y[0], top.clear)
            elif chance(rng, 0.25):
                thing = container(palette, 0.3)
            elif chance(rng, 0.2):
                thing = plant(palette, rng.uniform(0.15, 0.35), rests_on_top=True)
            else:
                thing = clutter(palette, top.clear)
            room.on_top(case, thing, top)


def scatter(room: Room, below: Item, count: int) -> None:
    for _ in range(count):
        room.on_top(below, clutter(room.palette), yaw=40)


def _lean(room: Room, seat: Item) -> None:
    """A cushion against the back of a sofa."""
    one = leaning_pillow(room.palette)
    top = seat.tops[0]
    rear = Top(top.x, (top.y[1] - float(one.size[1]) - 0.03, top.y[1] + 0.02), top.z, top.clear)
    room.on_top(seat, one, rear)


def _sit(room: Room, board: Item, seat: Item, edge: tuple[float, float], toward: float) -> None:
    """A chair at an edge of a table, facing it, pushed under as far as it goes."""
    rng = room.rng
    away = np.array([np.sin(np.radians(toward)), -np.cos(np.radians(toward))]) * -1
    for back in (rng.uniform(-0.15, 0.1), 0.15, 0.3, 0.4):
        x, y = np.array(edge) + away * (back + 0.2)
        if room.beside(board, seat, (float(x), float(y), 0.0), toward + rng.uniform(-12, 12)):
            return


def middle(room: Room, spread: float) -> tuple[float, float, float]:
    x, y = (0.5 + room.rng.uniform(-spread, spread, 2)) * np.array(room.size[:2])
    return float(x), float(y), 0.0


def _lay_rug(room: Room, under: Item, size: tuple[float, float], y: float) -> None:
    """A rug below a thing, its middle at y of the thing's frame; one a room, lest they cross."""
    if any(item.soft for item in room.items):
        return
    at = under.to_room(np.array([[0.0, y, 0.0]]))[0]
    for share in (1.0, 0.8, 0.65, 0.5):
        mat = rug(room.palette, size[0] * share, size[1] * share)
        if room.add(mat.placed((float(at[0]), float(at[1]), 0.0), under.yaw), free=False):
            return
