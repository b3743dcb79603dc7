"""Posed images of a room: colour as a camera takes it, and exact depth, normals and labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto.lifting.frame import Intrinsics
from concerto.training.prepare.rooms.cameras import Pose, camera_of, choose_views, rays
from concerto.training.prepare.rooms.geometry import Geometry
from concerto.training.prepare.rooms.lighting import ambient_level, shade, sources
from concerto.training.prepare.rooms.parts import Floats
from concerto.training.prepare.rooms.room import Room

# Rays a pixel, along each side.
FINE = 2


@dataclass(frozen=True)
class Picture:
    """A view of a room: light (h, w, 3) linear; depth (h, w) metres along the optical axis; normal
    (h, w, 3) in the world; kind, instance: (h, w); holes (h, w): share of depths that a sensor
    misses on each surface; facing (h, w): cosine between the normal and the ray."""

    light: Floats
    depth: Floats
    normal: Floats
    kind: NDArray[np.int16]
    instance: NDArray[np.int32]
    holes: Floats
    facing: Floats
    pose: Pose
    camera: Intrinsics


def render_room(room: Room, count: int, size: tuple[int, int], rng: np.random.Generator) -> list[Picture]:
    """`count` views of a room; size: width and height in pixels."""
    geometry = Geometry(room)
    views = choose_views(room, geometry, count, rng)
    lights = sources(room)
    ambient = ambient_level(room, lights)
    pictures = []
    for pose, field in views:
        camera = camera_of(size, field)
        light = np.zeros((size[1] * size[0], 3), np.float32)
        rows, columns = np.indices((size[1], size[0])).reshape(2, -1).astype(np.float32)
        for i in range(FINE):
            for j in range(FINE):
                dx, dy = rng.random((2, len(rows)), np.float32)
                x, y = columns + (i + dx) / FINE - 0.5, rows + (j + dy) / FINE - 0.5
                origin, direction, _ = rays(pose, camera, x, y)
                hits = geometry.first(origin, direction)
                light += shade(geometry, hits, direction, lights, ambient, rng).clip(0, 8)
        pictures.append(_exact(geometry, pose, camera, size, light / FINE**2))
    return pictures


def _exact(
    geometry: Geometry, pose: Pose, camera: Intrinsics, size: tuple[int, int], light: Floats
) -> Picture:
    """What is met through the middle of each pixel."""
    shape = (size[1], size[0])
    rows, columns = np.indices(shape).reshape(2, -1).astype(np.float32)
    origin, direction, forward = rays(pose, camera, columns, rows)
    hits = geometry.first(origin, direction)
    part = geometry.part[hits.face]
    holes = np.array([material.holes for material in geometry.materials], np.float32)
    facing = -np.einsum("nc,nc->n", direction, hits.normal)
    return Picture(
        light=light.reshape(*shape, 3),
        depth=np.where(hits.hit, hits.distance * forward, 0).reshape(shape).astype(np.float32),
        normal=hits.normal.reshape(*shape, 3),
        kind=np.where(hits.hit, geometry.kind[part], -1).reshape(shape).astype(np.int16),
        instance=np.where(hits.hit, geometry.instance[part], -1).reshape(shape).astype(np.int32),
        holes=holes[part].reshape(shape),
        facing=facing.reshape(shape),
        pose=pose,
        camera=camera,
    )
