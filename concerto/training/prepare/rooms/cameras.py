"""Where someone with a camera would stand, and what they would look at.

Views come in groups of four that look at the same part of the room from different places, since a
sample brings four images and is cut around what they all see. Of many candidates those are taken
that show the most that no view has shown, furniture before walls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from concerto.lifting.frame import Intrinsics
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.geometry import Geometry
from concerto.training.prepare.rooms.items import Solids
from concerto.training.prepare.rooms.parts import Floats
from concerto.training.prepare.rooms.room import Room

Rng = np.random.Generator
Pose = NDArray[np.float64]
GROUP = 4
CANDIDATES = 24
# A candidate is judged by an image of so many pixels.
THUMB = (18, 24)
# Cells of space that count as seen: metres.
CELL = 0.12
# Free space around the camera: metres.
BODY = 0.2


def choose_views(room: Room, geometry: Geometry, count: int, rng: Rng) -> list[tuple[Pose, float]]:
    """Poses, camera to world, each with its horizontal field of view in degrees."""
    seen: set[int] = set()
    chosen: list[tuple[Pose, float]] = []
    field = float(rng.uniform(58, 74))
    while len(chosen) < count:
        focus = _focus(room, rng)
        for _ in range(min(GROUP, count - len(chosen))):
            best, cells = _best(room, geometry, focus, seen, field, rng)
            seen |= cells
            chosen.append((best, field))
    return chosen


def rays(pose: Pose, camera: Intrinsics, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Origin and unit direction (n, 3) of rays through pixels x, y, and z of a ray's unit (n,)."""
    local = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], 1)
    length = np.linalg.norm(local, axis=1)
    direction = (local / length[:, None]) @ pose[:3, :3].T
    origin = np.broadcast_to(pose[:3, 3], direction.shape)
    return origin.astype(np.float32), direction.astype(np.float32), (1 / length).astype(np.float32)


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


def _focus(room: Room, rng: Rng) -> Floats:
    """The middle of a piece of furniture, large ones more often, or of the room."""
    standing = [item for item in room.items if item.rests == "floor" and not item.soft]
    if not standing or rng.random() < 0.15:
        return np.array([room.size[0] / 2, room.size[1] / 2, 0.6], np.float32)
    weight = np.array([float(np.prod(item.size) ** 0.5) for item in standing])
    item = standing[int(rng.choice(len(standing), p=weight / weight.sum()))]
    middle = item.to_room(np.array([(item.low + item.high) / 2]))[0]
    middle[2] = np.clip(middle[2], 0.4, 1.1) + (0.7 if rng.random() < 0.25 else 0.0)
    return np.asarray(middle, np.float32)


def _best(
    room: Room, geometry: Geometry, focus: Floats, seen: set[int], field: float, rng: Rng
) -> tuple[Pose, set[int]]:
    solids = Solids.joined([item.solids() for item in room.items])
    best, most, cells_of_best = None, -np.inf, set[int]()
    camera = camera_of((THUMB[1], THUMB[0]), field)
    rows, columns = np.indices(THUMB).reshape(2, -1).astype(np.float32)
    for _ in range(CANDIDATES):
        pose = _candidate(room, solids, focus, rng)
        hits = geometry.first(*rays(pose, camera, columns, rows)[:2])
        distance = np.where(hits.hit, hits.distance, 0)
        cells = np.floor(hits.point[hits.hit] / CELL).astype(np.int64) + 512
        keys = cells @ [1 << 20, 1 << 10, 1]
        shell = np.isin(
            geometry.kind[geometry.part[hits.face[hits.hit]]], (Kind.WALL, Kind.FLOOR, Kind.CEILING)
        )
        new = ~np.isin(keys, np.fromiter(seen, np.int64, len(seen)))
        score = (new * np.where(shell, 0.35, 1.0)).sum() + 0.3 * (~shell).sum()
        score -= 400 * (np.mean(distance < 0.6) > 0.15) + 200 * (np.median(distance) < 1.3)
        if score > most:
            best, most, cells_of_best = pose, score, set(keys.tolist())
    assert best is not None
    return best, cells_of_best


def _candidate(room: Room, solids: Solids, focus: Floats, rng: Rng) -> Pose:
    """A free place at the height of a head or a chest, from which to look about at the focus."""
    for _ in range(50):
        at = rng.uniform(0.25, np.array(room.size[:2]) - 0.25)
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
