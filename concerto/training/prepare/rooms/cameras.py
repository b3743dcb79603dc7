"""Where someone with a camera would stand, and what they would look at.

Views come in groups of four that look at the same part of the room from different places, since a
sample brings four images and is cut around what they all see; each group looks at another part. Of
many candidates those are taken that show the most that no view has shown, things before walls, and
that keep their distance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from concerto.lifting.frame import Intrinsics
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.geometry import Geometry, Hits
from concerto.training.prepare.rooms.items import Solids
from concerto.training.prepare.rooms.parts import Floats
from concerto.training.prepare.rooms.room import Room
from concerto.training.prepare.rooms.vectors import length

Pose = NDArray[np.float64]
GROUP = 4
CANDIDATES = 44
# Places that a group might look at; the one farthest from what others look at is taken.
PLACES = 6
# A candidate is judged by an image of so many pixels.
THUMB = (18, 24)
# Cells of space that count as seen: metres.
CELL = 0.12
# Free space around the camera: metres.
BODY = 0.2
# Metres that a view keeps from what fills its middle, and the largest share of one thing in it.
APART = 1.3
MOST_OF_ONE = 0.35
# What is nearer than this, in metres, may fill a twentieth of a view.
NEAR = 0.7
# What a view scores for each thing that no view has shown yet: pixels of a thumb.
NEW_THING = 12.0
# What stands on the floor and is not what a room is for.
ASIDE = (Kind.LAMP, Kind.PLANT, Kind.BOX, Kind.CLUTTER, Kind.RUG)
# Pixels of a thumb that show a thing.
SHOWN = 3


def choose_views(
    room: Room, geometry: Geometry, count: int, rng: Generator
) -> list[tuple[Pose, float]]:
    """Poses, camera to world, each with its horizontal field of view in degrees."""
    seen = _Seen()
    chosen: list[tuple[Pose, float]] = []
    looked_at: list[Floats] = []
    field = float(rng.uniform(62, 76))
    while len(chosen) < count:
        looked_at.append(_next_focus(room, looked_at, rng))
        for _ in range(min(GROUP, count - len(chosen))):
            best, shown = _best(room, geometry, looked_at[-1], seen, field, rng)
            seen.add(shown)
            chosen.append((best, field))
    return chosen


def rays(pose: Pose, camera: Intrinsics, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Origin and unit direction (n, 3) of rays through pixels x, y, and z of a ray's unit (n,)."""
    local = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], 1)
    reach = length(local)
    direction = (local / reach[:, None]) @ pose[:3, :3].T
    origin = np.broadcast_to(pose[:3, 3], direction.shape)
    return origin.astype(np.float32), direction.astype(np.float32), (1 / reach).astype(np.float32)


def camera_of(size: tuple[int, int], field: float) -> Intrinsics:
    """The camera of images of width x height pixels with a horizontal field of view (degrees)."""
    focal = size[0] / 2 / np.tan(np.radians(field) / 2)
    return Intrinsics(focal, focal, (size[0] - 1) / 2, (size[1] - 1) / 2)


def look(eye: Floats, target: Floats, roll: float) -> Pose:
    """The pose of a camera at a place that looks at another: z forward, y down."""
    forward = np.asarray(target, np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    pose = np.eye(4)
    pose[:3, :3] = np.stack([cos * right + sin * down, cos * down - sin * right, forward], 1)
    pose[:3, 3] = eye
    return pose


@dataclass
class _Seen:
    """What views have shown. cells: of space, by number; things: numbers of instances."""

    cells: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    things: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, other: _Seen) -> None:
        self.cells = np.union1d(self.cells, other.cells)
        self.things = np.union1d(self.things, other.things)


def _next_focus(room: Room, others: list[Floats], rng: Generator) -> Floats:
    """A place to look at, far from the others."""
    places = [_focus(room, rng) for _ in range(PLACES if others else 1)]
    return max(
        places, key=lambda at: min((float(np.hypot(*(at - b)[:2])) for b in others), default=0)
    )


def _focus(room: Room, rng: Generator) -> Floats:
    """The middle of a piece of furniture, large ones more often, or of the room."""
    standing = [item for item in room.items if item.rests == "floor" and item.kind not in ASIDE]
    if not standing or rng.random() < 0.15:
        return np.array([room.size[0] / 2, room.size[1] / 2, 0.6], np.float32)
    weight = np.array([float(np.prod(item.size) ** 0.5) for item in standing])
    item = standing[int(rng.choice(len(standing), p=weight / weight.sum()))]
    middle = item.to_room(np.array([(item.low + item.high) / 2]))[0]
    middle[2] = np.clip(middle[2], 0.4, 1.1) + (0.7 if rng.random() < 0.25 else 0.0)
    return np.asarray(middle, np.float32)


def _best(
    room: Room, geometry: Geometry, focus: Floats, seen: _Seen, field: float, rng: Generator
) -> tuple[Pose, _Seen]:
    solids = Solids.joined([item.solids() for item in room.items] + room.blocked)
    best, most, shown_by_best = None, -np.inf, _Seen()
    camera = camera_of((THUMB[1], THUMB[0]), field)
    rows, columns = np.indices(THUMB).reshape(2, -1).astype(np.float32)
    for _ in range(CANDIDATES):
        pose = _candidate(room, solids, focus, rng)
        hits = geometry.first(*rays(pose, camera, columns, rows)[:2])
        score, shown = _judge(geometry, hits, seen)
        if score > most:
            best, most, shown_by_best = pose, score, shown
    assert best is not None
    return best, shown_by_best


def _judge(geometry: Geometry, hits: Hits, seen: _Seen) -> tuple[float, _Seen]:
    """How much a view is worth, as pixels of a thumb, and what it shows."""
    part = geometry.part[hits.face[hits.hit]]
    cells = (np.floor(hits.point[hits.hit] / CELL).astype(np.int64) + 512) @ [1 << 20, 1 << 10, 1]
    shell = np.isin(geometry.kind[part], (Kind.WALL, Kind.FLOOR, Kind.CEILING))
    pixels = np.bincount(geometry.instance[part], minlength=1)
    things = np.flatnonzero(pixels >= SHOWN)
    new = ~np.isin(cells, seen.cells)
    score = float((new * np.where(shell, 0.35, 1.0)).sum() + 0.3 * (~shell).sum())
    score += NEW_THING * float((~np.isin(things, seen.things)).sum())

    distance = np.where(hits.hit, hits.distance, 0).reshape(THUMB)
    height, width = THUMB
    middle = distance[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    score -= 400 * max(0.0, APART - float(np.median(middle)))
    score -= 400 * max(0.0, APART - float(np.median(distance)))
    score -= 800 * max(0.0, float(np.mean(distance < NEAR)) - 0.05)
    score -= 800 * max(0.0, float(pixels.max(initial=0)) / distance.size - MOST_OF_ONE)
    return score, _Seen(np.unique(cells), things)


def _candidate(room: Room, solids: Solids, focus: Floats, rng: Generator) -> Pose:
    """A free place at the height of a head or a chest, from which to look about at the focus."""
    for _ in range(50):
        at = rng.uniform(0.22, np.array(room.size[:2]) - 0.22)
        eye = np.array([*at, rng.uniform(1.1, 1.75)], np.float32)
        apart = np.linalg.norm(eye[:2] - focus[:2])
        if apart > 1.2 and _is_free(eye, solids):
            break
    else:
        eye = np.array(
            [room.size[0] / 2, room.size[1] / 2, min(2.2, room.size[2] - 0.2)], np.float32
        )
        focus = focus + np.array([0.3, 0.2, 0], np.float32)
    target = focus + rng.normal(scale=(0.25, 0.25, 0.15)).astype(np.float32)
    return look(eye, target, float(rng.normal(scale=2)))


def _is_free(eye: Floats, solids: Solids) -> bool:
    body = Solids(
        center=eye[None, :2].astype(np.float64),
        half=np.full((1, 2), BODY),
        turn=np.zeros(1),
        low=np.array([float(eye[2]) - BODY]),
        high=np.array([float(eye[2]) + BODY]),
    )
    return bool((body.overlap(solids) < 0).all())
