"""Rooms of boxes whose classes have names: the smallest that words can be learned from."""

from __future__ import annotations

import numpy as np

from concerto.training.scenes.encoded import EncodedSample

CLASSES = ("floor", "wall", "sofa", "chair", "table", "bed", "bookshelf")
# Words that no training has met, for each class.
UNSEEN = {
    "floor": "carpet",
    "wall": "brick wall",
    "sofa": "couch",
    "chair": "seat",
    "table": "desk",
    "bed": "mattress",
    "bookshelf": "bookcase",
}
COLORS = {
    "floor": (150, 110, 70),
    "wall": (225, 225, 215),
    "sofa": (170, 60, 60),
    "chair": (60, 80, 170),
    "table": (190, 150, 90),
    "bed": (200, 190, 230),
    "bookshelf": (90, 60, 40),
}
# Boxes of each piece, in metres: corner and size.
PIECES = {
    "sofa": [((0, 0, 0), (1.8, 0.8, 0.42)), ((0, 0, 0.42), (1.8, 0.22, 0.4))],
    "chair": [((0, 0, 0), (0.55, 0.55, 0.45)), ((0, 0, 0.45), (0.55, 0.12, 0.5))],
    "table": [((0, 0, 0.7), (1.2, 0.7, 0.04))]
    + [((x, y, 0), (0.06, 0.06, 0.7)) for x in (0, 1.14) for y in (0, 0.64)],
    "bed": [((0, 0, 0), (1.9, 1.4, 0.45))],
    "bookshelf": [((0, 0, z), (0.9, 0.3, 0.04)) for z in (0, 0.4, 0.8, 1.2, 1.6)]
    + [((x, 0, 0), (0.04, 0.3, 1.64)) for x in (0, 0.86)],
}
PLACES = ((0.1, 0.1), (2.3, 0.2), (0.2, 1.8), (2.4, 1.9), (1.6, 3.1), (0.3, 3.1), (3.6, 3.2))
ROOM = (4.4, 4.4, 2.2)
DENSITY = 350  # points a square metre


def named_room(number: int) -> EncodedSample:
    """A room with a piece of each class, somewhere else in each, and two more chairs."""
    random = np.random.default_rng(number)
    parts = [_plane("floor", 2, random), _plane("wall", 0, random), _plane("wall", 1, random)]
    names = [*random.permutation(list(PIECES)), "chair", "chair"]
    for place, name in zip(PLACES, names, strict=True):
        offset = np.array([*place, 0]) + np.append(random.uniform(0, 0.15, 2), 0)
        parts += [_box(name, offset + low, np.array(size), random) for low, size in PIECES[name]]
    coord, normal, color, segment = (
        np.concatenate(columns) for columns in zip(*parts, strict=True)
    )
    return EncodedSample(
        name=f"room_{number}",
        scene=f"room{number}",
        coord=coord.astype(np.float32),
        color=color.astype(np.uint8),
        normal=normal.astype(np.float32),
        segment=segment.astype(np.int16),
        instance=segment.astype(np.int32),
    )


def _plane(name: str, axis: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    size = np.array(ROOM)
    size[axis] = 0
    return _face(name, np.zeros(3), size, axis, 1.0, random)


def _box(
    name: str, low: np.ndarray, size: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, ...]:
    faces = []
    for axis in range(3):
        flat = size.copy()
        flat[axis] = 0
        high = low.copy()
        high[axis] += size[axis]
        faces.append(_face(name, low, flat, axis, -1.0, random))
        faces.append(_face(name, high, flat, axis, 1.0, random))
    return tuple(np.concatenate(columns) for columns in zip(*faces, strict=True))


def _face(
    name: str,
    low: np.ndarray,
    size: np.ndarray,
    axis: int,
    side: float,
    random: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    """Points, normals, colours and classes of a rectangle."""
    count = 1 + round(DENSITY * float(np.prod(np.delete(size, axis))))
    coord = low + random.random((count, 3)) * size
    normal = np.zeros((count, 3))
    normal[:, axis] = side
    color = np.clip(np.array(COLORS[name]) + random.normal(0, 12, (count, 3)), 0, 255)
    return coord, normal, color, np.full(count, CLASSES.index(name))
