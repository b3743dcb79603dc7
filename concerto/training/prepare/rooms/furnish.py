"""What stands where, by what a room is for; then what is found in any room."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms.beds import bed, leaning_pillow, lying_pillow
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.clutter import clutter, container
from concerto.training.prepare.rooms.decor import monitor, picture, plant, rug, television
from concerto.training.prepare.rooms.items import Item, Top
from concerto.training.prepare.rooms.lamps import ceiling_lamp, floor_lamp, pendant, table_lamp
from concerto.training.prepare.rooms.palette import Palette, chance, pick
from concerto.training.prepare.rooms.room import Room
from concerto.training.prepare.rooms.seats import chair, office_chair, sofa
from concerto.training.prepare.rooms.storage import books, cabinet, shelf, wall_shelf
from concerto.training.prepare.rooms.tables import desk, table
from concerto.training.prepare.rooms.wet import bathtub, counter, fridge, stove, toilet, wash_basin

STYLES = ("living", "bedroom", "office", "kitchen", "bathroom", "dining")


def furnish(room: Room) -> None:
    """Fill a room: the furniture of its kind first, then lamps, shelves, pictures, small things."""
    {
        "living": _living,
        "bedroom": _bedroom,
        "office": _office,
        "kitchen": _kitchen,
        "bathroom": _bathroom,
        "dining": _dining,
    }[room.style](room)
    _finish(room)


# --- kinds of rooms ------------------------------------------------------------------------------


def _living(room: Room) -> None:
    rng, palette = room.rng, room.palette
    seat = _group(room, sofa(palette))
    if seat is not None and chance(rng, 0.6):
        _armchairs(room, seat)
    _media(room, seat)
    for _ in range(int(rng.integers(1, 3))):
        _bookcase(room, low=chance(rng, 0.3))
    if chance(rng, 0.5):
        room.along_wall(cabinet(palette, "sideboard"))
    if chance(rng, 0.3) and min(room.size[:2]) > 4:
        _dining_group(room)
    if chance(rng, 0.25):
        _desk_place(room)


def _bedroom(room: Room) -> None:
    rng, palette = room.rng, room.palette
    for _ in range(1 + int(chance(rng, 0.12))):
        found = room.along_wall(bed(palette))
        if found is not None:
            _make_bed(room, found[1])
    room.along_wall(cabinet(palette, "wardrobe"))
    for use, share in (("dresser", 0.6), ("sideboard", 0.2)):
        if chance(rng, share):
            room.along_wall(cabinet(palette, use))
    if chance(rng, 0.45):
        _desk_place(room)
    if chance(rng, 0.4):
        _bookcase(room, low=chance(rng, 0.5))
    if chance(rng, 0.3):
        room.anywhere(chair(palette))


def _office(room: Room) -> None:
    rng, palette = room.rng, room.palette
    for _ in range(int(rng.integers(1, 5))):
        _desk_place(room)
    for _ in range(int(rng.integers(1, 4))):
        _bookcase(room, low=chance(rng, 0.3))
    for _ in range(int(rng.integers(0, 3))):
        room.along_wall(cabinet(palette, pick(rng, ("file", "wardrobe", "sideboard"))))
    if chance(rng, 0.3):
        _dining_group(room)
    if chance(rng, 0.25):
        room.along_wall(sofa(palette, 2))


def _kitchen(room: Room) -> None:
    _kitchen_row(room)
    if chance(room.rng, 0.75):
        _dining_group(room)
    if chance(room.rng, 0.4):
        _bookcase(room, low=chance(room.rng, 0.5))
    if chance(room.rng, 0.3):
        room.along_wall(cabinet(room.palette, "sideboard"))


def _bathroom(room: Room) -> None:
    rng, palette = room.rng, room.palette
    if chance(rng, 0.75):
        room.along_wall(bathtub(palette))
    basin = wash_basin(palette)
    for _ in range(20):
        wall = pick(rng, room.walls)
        x = float(rng.uniform(0.45, wall.length - 0.45))
        back = max(float(one.high[1]) for one in basin)
        placed = [one.placed((*wall.point(x, back + 0.02), 0.0), wall.yaw) for one in basin]
        if room.add(*placed):
            if chance(rng, 0.6):
                above = cabinet(palette, "wall") if chance(rng, 0.6) else picture(palette)
                room.add(wall.put(above, x, 0.001, 1.25 if above.kind is Kind.CABINET else 1.6))
            break
    room.along_wall(toilet(palette))
    if chance(rng, 0.5):
        room.along_wall(cabinet(palette, pick(rng, ("nightstand", "file", "dresser"))))
    if chance(rng, 0.4):
        _bookcase(room, low=True)
    if chance(rng, 0.5):
        mat = rug(palette, rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.6))
        room.add(mat.placed(_middle(room, 0.25), pick(rng, (0.0, 90.0))), free=False)


def _dining(room: Room) -> None:
    rng, palette = room.rng, room.palette
    _dining_group(room, central=True)
    for use in ("sideboard", "dresser", "wardrobe"):
        if chance(rng, 0.4):
            room.along_wall(cabinet(palette, use))
    if chance(rng, 0.6):
        _bookcase(room, low=chance(rng, 0.4))
    if chance(rng, 0.25):
        room.along_wall(sofa(palette, 2))


# --- groups of things ----------------------------------------------------------------------------


def _group(room: Room, seat: Item) -> Item | None:
    """A sofa at a wall or free, with cushions, and a table and a rug before it."""
    rng, palette = room.rng, room.palette
    if chance(rng, 0.8):
        found = room.along_wall(seat)
        placed = found[1] if found else None
    else:
        placed = seat.placed(_middle(room, 0.15), pick(rng, (0.0, 90.0, 180.0, 270.0)))
        placed = placed if room.add(placed) else None
    if placed is None:
        return None
    front = float(placed.low[1])
    low = table(palette, "coffee")
    gap = front - rng.uniform(0.3, 0.5) - float(low.high[1])
    set_down = room.beside(placed, low, (0.0, gap, 0.0), 0.0)
    if chance(rng, 0.6):
        width, depth = rng.uniform(1.4, 2.4), rng.uniform(1.0, 1.6)
        mat = rug(palette, width, depth)
        at = placed.to_room(np.array([[0.0, front - 0.2 - depth / 2, 0.0]]))[0]
        room.add(mat.placed((float(at[0]), float(at[1]), 0.0), placed.yaw), free=False) if _only_floor(room, mat) else None
    if set_down is not None:
        _scatter(room, set_down, int(rng.integers(0, 5)))
    for _ in range(int(rng.integers(0, 5))):
        _lean(room, placed)
    for side in (-1, 1):
        if chance(rng, 0.45):
            reach = float(placed.high[0])
            small = table(palette, "side") if chance(rng, 0.6) else floor_lamp(palette)
            x = side * (reach + float(small.high[0]) + 0.05)
            got = room.beside(placed, small, (x, float(placed.high[1]) - float(small.high[1]), 0.0), 0.0)
            if got is not None and got.kind is Kind.TABLE:
                room.on_top(got, table_lamp(palette) if chance(rng, 0.6) else clutter(palette))
    return placed


def _armchairs(room: Room, seat: Item) -> None:
    palette, rng = room.palette, room.rng
    front = float(seat.low[1])
    for side in (-1, 1):
        if chance(rng, 0.6):
            one = sofa(palette, 1) if chance(rng, 0.6) else chair(palette)
            x = side * (float(seat.high[0]) + rng.uniform(0.1, 0.5))
            room.beside(seat, one, (x, front - rng.uniform(0.5, 0.9), 0.0), side * -rng.uniform(50, 110))


def _media(room: Room, seat: Item | None) -> None:
    """A television across from the sofa where there is one: on the wall, or on a low cabinet."""
    rng, palette = room.rng, room.palette
    walls = room.walls
    if seat is not None:
        walls = [wall for wall in walls if abs((wall.yaw - seat.yaw) % 360 - 180) < 1] or walls
    if chance(rng, 0.3):
        room.hang(television(palette, on_wall=True), rng.uniform(1.1, 1.4), walls)
        return
    found = room.along_wall(cabinet(palette, "media"), walls) or room.along_wall(cabinet(palette, "media"))
    if found is not None:
        room.on_top(found[1], television(palette, on_wall=False))
        _scatter(room, found[1], int(rng.integers(0, 4)))


def _make_bed(room: Room, placed: Item) -> None:
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
            x = side * (max(float(placed.high[0]), -float(placed.low[0])) + float(small.high[0]) + 0.03)
            y = float(placed.high[1]) - float(small.high[1]) - 0.01
            got = room.beside(placed, small, (x, y, 0.0), 0.0)
            if got is not None:
                room.on_top(got, table_lamp(palette)) if chance(rng, 0.7) else None
                _scatter(room, got, int(rng.integers(0, 3)))
    if chance(rng, 0.45):
        mat = rug(palette, rng.uniform(1.6, 2.6), rng.uniform(1.2, 1.8))
        at = placed.to_room(np.array([[0.0, -0.6, 0.0]]))[0]
        room.add(mat.placed((float(at[0]), float(at[1]), 0.0), placed.yaw), free=False) if _only_floor(room, mat) else None


def _desk_place(room: Room) -> None:
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
    _scatter(room, place, int(rng.integers(1, 6)))
    if chance(rng, 0.25):
        room.on_top(place, books(palette, 0.4, 0.25, 0.4), back)


def _dining_group(room: Room, central: bool = False) -> None:
    """A table with chairs that face it, on a rug at times, below a lamp at times."""
    rng, palette = room.rng, room.palette
    board = table(palette)
    turn = pick(rng, (0.0, 90.0)) + (rng.uniform(-8, 8) if chance(rng, 0.2) else 0.0)
    placed = None
    for _ in range(20):
        one = board.placed(_middle(room, 0.08 if central else 0.3), turn)
        if room.add(one):
            placed = one
            break
    if placed is None:
        return
    width, depth = placed.size[:2]
    seat = chair(palette)
    spots = [(x, s * depth / 2) for s in (-1, 1) for x in ((0.0,) if width < 1.3 else (-width / 4, width / 4))]
    spots += [(s * width / 2, 0.0) for s in (-1, 1)]
    for x, y in spots:
        if chance(rng, 0.8):
            toward = float(np.degrees(np.arctan2(-x if y == 0 else 0.0, y)))
            _sit(room, placed, seat, (x, y), toward)
    if chance(rng, 0.4):
        mat = rug(palette, width + rng.uniform(0.8, 1.4), depth + rng.uniform(0.8, 1.4))
        room.add(mat.placed((*placed.at[:2], 0.0), placed.yaw), free=False) if _only_floor(room, mat) else None
    if chance(rng, 0.6):
        lamp = pendant(palette, room.size[2])
        room.add(lamp.placed((*placed.at[:2], room.size[2]), 0.0), free=False)
    _scatter(room, placed, int(rng.integers(0, 7)))


def _kitchen_row(room: Room) -> None:
    """Cabinets in a row along a wall, with sink and stove, wall cabinets above, a fridge."""
    rng, palette = room.rng, room.palette
    depth, height = rng.uniform(0.56, 0.64), rng.uniform(0.86, 0.93)
    for wall in sorted(room.walls, key=lambda one: (any(h.is_door for h in one.openings), -one.length)):
        widths = [0.6] * int(rng.integers(3, 6))
        sink, hot = (int(k) for k in rng.choice(len(widths), 2, replace=False))
        columns = counter(palette, [w if k != hot else 0.6 for k, w in enumerate(widths)], sink, depth, height)
        columns[hot] = [stove(palette, depth + 0.02, height)]
        start = rng.uniform(0.03, max(0.04, wall.length - sum(widths) - 0.8))
        built = 0
        for k, column in enumerate(columns):
            x = start + sum(widths[:k]) + widths[k] / 2
            inward = 0.02 + depth / 2
            built += room.add(*(one.placed((*wall.point(x, inward), 0.0), wall.yaw) for one in column))
        if built < 2:
            continue
        cold = fridge(palette)
        x = start + sum(widths) + float(cold.high[0]) + 0.03
        if not (x + float(cold.high[0]) < wall.length and room.add(wall.put(cold, x, 0.03))):
            room.along_wall(cold)
        upper = cabinet(palette, "wall")
        step = float(upper.size[0]) + 0.003
        for k in range(int(sum(widths) / step)):
            if chance(rng, 0.85):
                room.add(wall.put(upper, start + (k + 0.5) * step, 0.001, 1.45))
        for one in [item for item in room.items if item.kind is Kind.CABINET and item.tops]:
            _scatter(room, one, int(rng.integers(0, 3)))
        return


def _bookcase(room: Room, low: bool) -> None:
    """A shelf filled with books and other things."""
    found = room.along_wall(shelf(room.palette, low))
    if found is not None:
        _fill(room, found[1])


def _fill(room: Room, case: Item) -> None:
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


def _finish(room: Room) -> None:
    """Lamps, plants, pictures, boxes, small things: as in any room."""
    rng, palette = room.rng, room.palette
    height = room.size[2]
    if chance(rng, 0.8):
        lamp = ceiling_lamp(palette) if chance(rng, 0.75) else pendant(palette, height + 0.4)
        room.add(lamp.placed((*_middle(room, 0.15)[:2], height), pick(rng, (0.0, 90.0))), free=False)
    if chance(rng, 0.4) and room.style != "bathroom":
        _corner(room, floor_lamp(palette))
    for _ in range(int(rng.integers(0, 3))):
        _corner(room, plant(palette, rng.uniform(0.4, 1.7)))
    if chance(rng, 0.35):
        found = room.hang(wall_shelf(palette), rng.uniform(1.2, 1.7))
        if found is not None:
            _fill(room, found)
    for _ in range(int(rng.integers(1, 6))):
        room.hang(picture(palette), rng.uniform(1.35, 1.75))
    for _ in range(int(rng.integers(0, 4)) if chance(rng, 0.6) else 0):
        found_box = room.anywhere(container(palette))
        if found_box is not None and chance(rng, 0.3):
            low, high = found_box.low, found_box.high
            top = Top((low[0], high[0]), (low[1], high[1]), float(high[2]), 1.0)
            room.on_top(found_box, container(palette, 0.35), top)
    for one in list(room.items):
        if one.kind in (Kind.CABINET, Kind.TABLE) and one.tops and chance(rng, 0.6):
            _dress(room, one, palette)
    for _ in range(int(rng.integers(0, 3))):
        room.anywhere(clutter(palette, 0.3))


def _dress(room: Room, below: Item, palette: Palette) -> None:
    rng = room.rng
    choice = rng.random()
    if choice < 0.2:
        room.on_top(below, plant(palette, rng.uniform(0.2, 0.5), rests_on_top=True))
    elif choice < 0.35:
        room.on_top(below, table_lamp(palette))
    elif choice < 0.5:
        room.on_top(below, books(palette, 0.5, 0.3, 0.4))
    elif choice < 0.6:
        room.on_top(below, container(palette, 0.35))
    _scatter(room, below, int(rng.integers(0, 4)))


def _corner(room: Room, thing: Item) -> None:
    """Something for a corner, or else anywhere at a wall."""
    for _ in range(6):
        reach = float(np.abs(np.stack([thing.low, thing.high])[:, :2]).max()) + 0.04
        x = pick(room.rng, (reach, room.size[0] - reach))
        y = pick(room.rng, (reach, room.size[1] - reach))
        if room.add(thing.placed((x, y, 0.0), float(room.rng.uniform(0, 360)))):
            return
    room.along_wall(thing)


def _scatter(room: Room, below: Item, count: int) -> None:
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


def _middle(room: Room, spread: float) -> tuple[float, float, float]:
    x, y = (0.5 + room.rng.uniform(-spread, spread, 2)) * np.array(room.size[:2])
    return float(x), float(y), 0.0


def _only_floor(room: Room, mat: Item) -> bool:
    """Whether there is no rug yet: two would lie in each other."""
    return not any(item.soft for item in room.items)


