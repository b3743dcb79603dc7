"""Make the packaged sample room: a small furnished room, procedural and free of anyone's rights.

Surfaces are sampled by area at random, as a scan would hit them, with a scanner's noise of 2 mm.
Run from the repository's root: python scripts/make_sample_room.py
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED = 7
DENSITY = 470  # points a square metre
NOISE = 0.002  # metres
WIDTH, DEPTH, HEIGHT = 4.2, 3.6, 2.4
WOOD: NDArray[np.float64] = np.array([0.62, 0.43, 0.26])
TARGET = Path(__file__).parents[1] / "concerto" / "assets" / "sample_room.npz"

Array = NDArray[np.float64]
Paint = Callable[[Array], Array]
Triple = tuple[float, float, float]


class Room:
    """Points, colours (0-1) and normals of the surfaces added so far."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(SEED)
        self.parts: list[tuple[Array, Array, Array]] = []

    def panel(self, origin: Triple, u: Triple, v: Triple, paint: Paint) -> None:
        """The parallelogram origin + s·u + t·v, its normal along u x v."""
        edge_u, edge_v = np.array(u, float), np.array(v, float)
        normal = np.cross(edge_u, edge_v)
        count = self.random.poisson(DENSITY * np.linalg.norm(normal))
        s, t = self.random.random((2, count, 1))
        self._add(np.array(origin) + s * edge_u + t * edge_v, normal, paint)

    def box(self, low: Triple, size: Triple, paint: Paint, bottom: bool = False) -> None:
        """An upright box; its underside only where it can be seen."""
        (x, y, z), (w, d, h) = low, size
        self.panel((x, y, z + h), (w, 0, 0), (0, d, 0), paint)
        self.panel((x, y, z), (w, 0, 0), (0, 0, h), paint)
        self.panel((x, y + d, z), (0, 0, h), (w, 0, 0), paint)
        self.panel((x, y, z), (0, 0, h), (0, d, 0), paint)
        self.panel((x + w, y, z), (0, d, 0), (0, 0, h), paint)
        if bottom:
            self.panel((x, y, z), (0, d, 0), (w, 0, 0), paint)

    def cylinder(
        self, base: Triple, radius: float, height: float, paint: Paint, top: float | None = None
    ) -> None:
        """An upright tube, or a cone's frustum where `top` is the radius of its upper end."""
        top = radius if top is None else top
        count = self.random.poisson(DENSITY * np.pi * (radius + top) * height)
        angle, t = 2 * np.pi * self.random.random(count), self.random.random(count)
        side = np.stack([np.cos(angle), np.sin(angle), np.full(count, (radius - top) / height)], 1)
        reach = (radius + (top - radius) * t)[:, None]
        points = np.array(base) + side * [1, 1, 0] * reach + t[:, None] * [0, 0, height]
        self._add(points, side, paint)

    def ellipsoid(self, center: Triple, radii: Triple, paint: Paint) -> None:
        """A closed, rounded body."""
        area = 4 * np.pi * np.mean(np.array(radii)) ** 2
        direction = self.random.normal(size=(self.random.poisson(DENSITY * area), 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        self._add(np.array(center) + direction * radii, direction / np.array(radii), paint)

    def _add(self, points: Array, normal: Array, paint: Paint) -> None:
        normals = np.broadcast_to(
            normal / np.linalg.norm(normal, axis=-1, keepdims=True), points.shape
        )
        color = paint(points) + self.random.normal(0, 0.015, points.shape)
        points = points + self.random.normal(0, NOISE, points.shape)
        self.parts.append((points, color.clip(0, 1), np.array(normals)))


def plain(*rgb: float) -> Paint:
    """One colour, a little darker towards the floor."""
    return lambda p: np.array(rgb) * (0.9 + 0.1 * (p[:, 2:] / HEIGHT))


def planks(p: Array) -> Array:
    """A wooden floor: boards of 14 cm, each of its own shade, with grain."""
    board = np.floor(p[:, 1] / 0.14)
    shade = 0.8 + 0.2 * np.sin(board * 12.9898) + 0.05 * np.sin(60 * p[:, 1] + 9 * p[:, 0])
    return shade[:, None] * WOOD


def books(p: Array) -> Array:
    """Spines of 4 cm in many colours."""
    spine = np.floor(p[:, :1] / 0.04) + 31 * np.floor(p[:, 2:] / 0.36)
    return np.asarray(0.5 + 0.4 * np.sin(spine * np.array([1.7, 2.9, 4.3]) + np.array([0, 2, 4])))


def rings(p: Array) -> Array:
    """A round rug: bands of red and cream."""
    radius = np.hypot(p[:, 0] - 2.35, p[:, 1] - 1.35)
    dark = (np.floor(radius / 0.12) % 2)[:, None]
    return np.asarray(dark * [0.62, 0.16, 0.16] + (1 - dark) * [0.88, 0.8, 0.66])


def furnish(room: Room) -> None:
    """The shell of the room, then what stands in it."""
    wood, white, steel = plain(0.55, 0.36, 0.2), plain(0.92, 0.92, 0.9), plain(0.25, 0.26, 0.28)
    room.panel((0, 0, 0), (WIDTH, 0, 0), (0, DEPTH, 0), planks)
    room.panel((0, DEPTH, 0), (0, 0, HEIGHT), (WIDTH, 0, 0), plain(0.9, 0.88, 0.82))
    room.panel((0, 0, 0), (0, 0, HEIGHT), (0, DEPTH, 0), plain(0.72, 0.8, 0.84))
    # Window and door in the walls, a picture over the bed.
    room.box((2.5, DEPTH - 0.05, 0.95), (1.2, 0.05, 1.1), plain(0.75, 0.88, 0.97))
    room.box((0, 0.25, 0), (0.05, 0.85, 2.0), plain(0.45, 0.3, 0.18))
    room.box((0, 2.3, 1.3), (0.03, 0.8, 0.5), plain(0.85, 0.6, 0.2))
    # Bed with mattress, blanket and pillows.
    room.box((0.1, 1.75, 0), (2.0, 1.4, 0.28), wood)
    room.box((0.12, 1.78, 0.28), (1.95, 1.34, 0.18), white)
    room.box((0.85, 1.76, 0.3), (1.25, 1.38, 0.19), plain(0.2, 0.35, 0.6))
    for y in (2.1, 2.8):
        room.ellipsoid((0.4, y, 0.5), (0.2, 0.28, 0.08), plain(0.95, 0.93, 0.88))
    # Desk with legs, screen, lamp.
    room.box((2.5, 2.95, 0.7), (1.4, 0.6, 0.04), wood, bottom=True)
    for x in (2.55, 3.8):
        for y in (3.0, 3.45):
            room.box((x, y, 0), (0.05, 0.05, 0.7), steel)
    room.box((2.95, 3.3, 0.85), (0.6, 0.04, 0.36), plain(0.08, 0.08, 0.1), bottom=True)
    room.box((3.2, 3.28, 0.74), (0.1, 0.1, 0.12), steel)
    room.cylinder((2.65, 3.3, 0.74), 0.02, 0.35, steel)
    room.cylinder((2.65, 3.3, 1.05), 0.14, 0.16, plain(0.95, 0.75, 0.3), top=0.07)
    # Chair.
    room.box((3.0, 2.35, 0.43), (0.44, 0.44, 0.06), plain(0.75, 0.25, 0.15), bottom=True)
    room.box((3.0, 2.3, 0.49), (0.44, 0.05, 0.5), plain(0.75, 0.25, 0.15), bottom=True)
    for x in (3.02, 3.38):
        for y in (2.37, 2.73):
            room.cylinder((x, y, 0), 0.02, 0.43, steel)
    # Shelf with books, by the far end of the wall.
    room.box((1.0, DEPTH - 0.32, 0), (0.04, 0.3, 1.9), wood)
    room.box((2.2, DEPTH - 0.32, 0), (0.04, 0.3, 1.9), wood)
    for level in range(6):
        room.box((1.0, DEPTH - 0.32, 0.02 + 0.37 * level), (1.24, 0.3, 0.03), wood)
    for level in range(1, 5):
        room.box((1.06, DEPTH - 0.28, 0.05 + 0.37 * level), (0.95, 0.2, 0.27), books)
    # Sofa, table with a bowl, rug, plant.
    room.box((3.3, 0.35, 0), (0.85, 1.7, 0.42), plain(0.25, 0.5, 0.42))
    room.box((3.95, 0.35, 0.42), (0.2, 1.7, 0.42), plain(0.22, 0.46, 0.38))
    for y in (0.35, 1.87):
        room.box((3.3, y, 0.42), (0.7, 0.18, 0.18), plain(0.22, 0.46, 0.38))
    room.cylinder((2.35, 1.35, 0.4), 0.4, 0.04, wood)
    disc = np.linspace(0, 2 * np.pi, 3, endpoint=False)
    for angle in disc:
        room.cylinder(
            (2.35 + 0.25 * np.cos(angle), 1.35 + 0.25 * np.sin(angle), 0), 0.025, 0.4, wood
        )
    for radius, height, paint in ((0.95, 0.006, rings), (0.4, 0.44, wood)):
        _disc(room, (2.35, 1.35, height), radius, paint)
    room.ellipsoid((2.3, 1.3, 0.49), (0.12, 0.12, 0.05), plain(0.85, 0.85, 0.95))
    room.cylinder((0.45, 1.45, 0), 0.12, 0.28, plain(0.7, 0.4, 0.25), top=0.16)
    for step in range(9):
        reach, turn = 0.12 + 0.02 * step, 2.4 * step
        leaf = (0.45 + reach * np.cos(turn), 1.45 + reach * np.sin(turn), 0.45 + 0.07 * step)
        room.ellipsoid(leaf, (0.12, 0.12, 0.05), plain(0.2, 0.5 + 0.03 * step, 0.2))


def _disc(room: Room, center: Triple, radius: float, paint: Paint) -> None:
    count = room.random.poisson(DENSITY * np.pi * radius**2)
    angle, reach = 2 * np.pi * room.random.random(count), np.sqrt(room.random.random(count))
    offset = np.stack([np.cos(angle) * reach, np.sin(angle) * reach, np.zeros(count)], 1) * radius
    room._add(np.array(center) + offset, np.array([0.0, 0.0, 1.0]), paint)


def make(target: Path) -> None:
    """Write the room: coordinates in float16 (2 mm), colours and normals in 8 bits."""
    room = Room()
    furnish(room)
    coord, color, normal = (np.concatenate(arrays) for arrays in zip(*room.parts, strict=True))
    # Neighbours in the file are neighbours in space: it compresses to two thirds.
    order = np.lexsort((*np.floor(coord.T / 0.1),))
    np.savez_compressed(
        target,
        coord=coord[order].astype(np.float16),
        color=np.round(color[order] * 255).astype(np.uint8),
        normal=np.round(normal[order] * 127).astype(np.int8),
    )


if __name__ == "__main__":
    make(TARGET)
    print(f"{TARGET}  {TARGET.stat().st_size:,} bytes")
