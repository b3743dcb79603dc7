"""What things in a room are called. A class's number is its place in this list."""

from __future__ import annotations

from enum import IntEnum, auto


class Kind(IntEnum):
    """The class of a thing, and of every point on it."""

    WALL = 0
    FLOOR = auto()
    CEILING = auto()
    DOOR = auto()
    WINDOW = auto()
    CURTAIN = auto()
    CABINET = auto()
    SHELF = auto()
    BED = auto()
    CHAIR = auto()
    SOFA = auto()
    TABLE = auto()
    DESK = auto()
    LAMP = auto()
    SCREEN = auto()
    PICTURE = auto()
    RUG = auto()
    PLANT = auto()
    SINK = auto()
    TOILET = auto()
    BATHTUB = auto()
    STOVE = auto()
    FRIDGE = auto()
    BOOKS = auto()
    BOX = auto()
    PILLOW = auto()
    CLUTTER = auto()


CLASSES: tuple[str, ...] = tuple(kind.name.lower() for kind in Kind)
