"""What stands where, by what a room is for; then what is found in any room."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms.beds import bed
from concerto.training.prepare.rooms.boxes import container
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.clutter import clutter
from concerto.training.prepare.rooms.decor import picture, rug
from concerto.training.prepare.rooms.groups import (
    armchairs,
    bookcase,
    desk_place,
    dining_group,
    fill,
    make_bed,
    media,
    middle,
    scatter,
    sofa_group,
)
from concerto.training.prepare.rooms.items import Item
from concerto.training.prepare.rooms.kitchen import kitchen_row, washing_place
from concerto.training.prepare.rooms.lamps import (
    ceiling_lamp,
    chandelier,
    floor_lamp,
    pendant,
    table_lamp,
    wall_lamp,
)
from concerto.training.prepare.rooms.palette import Palette, chance, pick
from concerto.training.prepare.rooms.plants import plant
from concerto.training.prepare.rooms.room import Room
from concerto.training.prepare.rooms.seats import chair, sofa
from concerto.training.prepare.rooms.storage import books, cabinet, wall_shelf
from concerto.training.prepare.rooms.wet import bathtub, toilet

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
    seats = (None, 2, 2, 1)
    seat = next((got for n in seats if (got := sofa_group(room, sofa(palette, n)))), None)
    if chance(rng, 0.35):
        kitchen_row(room)
    if seat is not None and chance(rng, 0.6):
        armchairs(room, seat)
    media(room, seat)
    for _ in range(int(rng.integers(1, 3))):
        bookcase(room, low=chance(rng, 0.3))
    if chance(rng, 0.5):
        room.along_wall(cabinet(palette, "sideboard"))
    if chance(rng, 0.3) and min(room.size[:2]) > 4:
        dining_group(room)
    if chance(rng, 0.35):
        desk_place(room)


def _bedroom(room: Room) -> None:
    rng, palette = room.rng, room.palette
    for _ in range(1 + int(chance(rng, 0.12))):
        tries = (room.along_wall(bed(palette)) for _ in range(5))
        found = next((one for one in tries if one is not None), None)
        if found is not None:
            make_bed(room, found[1])
    if chance(rng, 0.6):
        desk_place(room)
    room.along_wall(cabinet(palette, "wardrobe"))
    for use, share in (("dresser", 0.6), ("sideboard", 0.2)):
        if chance(rng, share):
            room.along_wall(cabinet(palette, use))
    if chance(rng, 0.4):
        bookcase(room, low=chance(rng, 0.5))
    if chance(rng, 0.2):
        room.along_wall(sofa(palette, int(rng.integers(1, 3))))
    if chance(rng, 0.3):
        room.anywhere(chair(palette))


def _office(room: Room) -> None:
    rng, palette = room.rng, room.palette
    for _ in range(int(rng.integers(1, 5))):
        desk_place(room)
    for _ in range(int(rng.integers(1, 4))):
        bookcase(room, low=chance(rng, 0.3))
    for _ in range(int(rng.integers(0, 3))):
        room.along_wall(cabinet(palette, pick(rng, ("file", "wardrobe", "sideboard"))))
    if chance(rng, 0.3):
        dining_group(room)
    if chance(rng, 0.4):
        room.along_wall(sofa(palette, 2))


def _kitchen(room: Room) -> None:
    kitchen_row(room)
    if chance(room.rng, 0.75):
        dining_group(room)
    if chance(room.rng, 0.4):
        bookcase(room, low=chance(room.rng, 0.5))
    if chance(room.rng, 0.3):
        room.along_wall(cabinet(room.palette, "sideboard"))


def _bathroom(room: Room) -> None:
    rng, palette = room.rng, room.palette
    room.along_wall(bathtub(palette)) if chance(rng, 0.95) else None
    room.along_wall(toilet(palette))
    washing_place(room)
    if chance(rng, 0.5):
        room.along_wall(cabinet(palette, pick(rng, ("nightstand", "file", "dresser"))))
    if chance(rng, 0.4):
        bookcase(room, low=True)


def _dining(room: Room) -> None:
    rng, palette = room.rng, room.palette
    if chance(rng, 0.45):
        kitchen_row(room)
    dining_group(room, central=True)
    if chance(rng, 0.4):
        room.along_wall(sofa(palette, int(rng.integers(1, 3))))
    for use in ("sideboard", "dresser", "wardrobe"):
        if chance(rng, 0.4):
            room.along_wall(cabinet(palette, use))
    if chance(rng, 0.6):
        bookcase(room, low=chance(rng, 0.4))


def _finish(room: Room) -> None:
    """Lamps, plants, pictures, boxes, small things: as in any room."""
    rng, palette = room.rng, room.palette
    height = room.size[2]
    if chance(rng, 0.8):
        lamp = _overhead(palette, height)
        room.add(lamp.placed((*middle(room, 0.15)[:2], height), pick(rng, (0.0, 90.0))), free=False)
    if chance(rng, 0.4) and room.style != "bathroom":
        _corner(room, floor_lamp(palette))
    for _ in range(int(rng.integers(0, 3))):
        _corner(room, plant(palette, rng.uniform(0.4, 1.7)))
    if chance(rng, 0.35) and not any(item.soft for item in room.items):
        _mat(room)
    if chance(rng, 0.2):
        room.hang(wall_lamp(palette), rng.uniform(1.4, 1.9))
    if chance(rng, 0.35):
        found = room.hang(wall_shelf(palette), rng.uniform(1.2, 1.7))
        if found is not None:
            fill(room, found)
    for _ in range(int(rng.integers(1, 6))):
        room.hang(picture(palette), rng.uniform(1.35, 1.75))
    for _ in range(int(rng.integers(0, 4)) if chance(rng, 0.6) else 0):
        below = room.anywhere(container(palette))
        if below is not None and chance(rng, 0.4):
            room.on_top(below, container(palette, 0.35))
    for one in list(room.items):
        if one.kind in (Kind.CABINET, Kind.TABLE) and one.tops and chance(rng, 0.6):
            _dress(room, one, palette)
    for _ in range(int(rng.integers(0, 3))):
        room.anywhere(clutter(palette, 0.3))


def _overhead(palette: Palette, height: float) -> Item:
    choice = palette.rng.random()
    if choice < 0.62:
        return ceiling_lamp(palette)
    return chandelier(palette) if choice < 0.8 else pendant(palette, height - 0.3)


def _mat(room: Room) -> None:
    """A small rug somewhere near the middle."""
    rng = room.rng
    mat = rug(room.palette, rng.uniform(0.6, 1.8), rng.uniform(0.45, 1.1))
    room.add(mat.placed(middle(room, 0.25), pick(rng, (0.0, 90.0, 20.0))), free=False)


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
    scatter(room, below, int(rng.integers(0, 4)))


def _corner(room: Room, thing: Item) -> None:
    """Something for a corner, or else anywhere at a wall."""
    for _ in range(6):
        reach = float(np.abs(np.stack([thing.low, thing.high])[:, :2]).max()) + 0.04
        x = pick(room.rng, (reach, room.size[0] - reach))
        y = pick(room.rng, (reach, room.size[1] - reach))
        if room.add(thing.placed((x, y, 0.0), float(room.rng.uniform(0, 360)))):
            return
    room.along_wall(thing)
