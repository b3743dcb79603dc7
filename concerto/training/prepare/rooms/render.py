"""Posed images of a room: colour as a camera takes it, and exact depth, normals and labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto.lifting.frame import Intrinsics
from concerto.training.prepare.rooms.cameras import Pose, camera_of, choose_views, rays
from concerto.training.prepare.rooms.geometry import Geometry, Hits
from concerto.training.prepare.rooms.lighting import Shaded, Source, ambient_level, shade, sources
from concerto.training.prepare.rooms.parts import Floats
from concerto.training.prepare.rooms.room import Room
from concerto.training.prepare.rooms.vectors import dot

# Rays a pixel, along each side.
FINE = 2
# Pixels that light is averaged over: two to each side.
NEIGHBOURS = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if i or j]


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


def render_room(
    room: Room, count: int, size: tuple[int, int], rng: np.random.Generator
) -> list[Picture]:
    """`count` views of a room; size: width and height in pixels."""
    geometry = Geometry(room)
    views = choose_views(room, geometry, count, rng)
    lights = sources(room)
    ambient = ambient_level(room, lights)
    pictures = []
    for pose, field in views:
        camera = camera_of(size, field)
        light = _light(geometry, pose, camera, size, lights, ambient, rng)
        pictures.append(_exact(geometry, pose, camera, size, light))
    return pictures


def _light(
    geometry: Geometry,
    pose: Pose,
    camera: Intrinsics,
    size: tuple[int, int],
    lights: list[Source],
    ambient: Floats,
    rng: np.random.Generator,
) -> Floats:
    """What reaches each pixel, (h w, 3) linear."""
    rows, columns = np.indices((size[1], size[0])).reshape(2, -1).astype(np.float32)
    total = Shaded(*(np.zeros((len(rows), 3), np.float32) for _ in range(4)))
    share = np.float32(1 / FINE**2)
    for k in range(FINE**2):
        dx, dy = rng.random((2, len(rows)), np.float32)
        x = columns + (k % FINE + dx) / FINE - np.float32(0.5)
        y = rows + (k // FINE + dy) / FINE - np.float32(0.5)
        origin, direction, _ = rays(pose, camera, x, y)
        hits = geometry.first(origin, direction)
        one = shade(geometry, hits, direction, lights, ambient, (k, FINE**2), rng)
        for sum_, value in zip(total, one, strict=True):
            sum_ += value.clip(0, 8) * share
    origin, direction, _ = rays(pose, camera, columns, rows)
    hits = geometry.first(origin, direction)
    even = _evened(np.concatenate([total.fallen, total.shine], 1), hits, geometry, size)
    return np.asarray(total.color * even[:, :3] + even[:, 3:] + total.glow, np.float32)


def _evened(light: Floats, hits: Hits, geometry: Geometry, size: tuple[int, int]) -> Floats:
    """Light (h w, c) averaged over neighbouring pixels of the same piece that face the same way:
    few rays leave it grainy."""
    shape = (size[1], size[0])
    part = geometry.part[hits.face].reshape(shape)
    normal, light = hits.normal.reshape(*shape, 3), light.reshape(*shape, -1)
    total, weight = light.copy(), np.ones(shape, np.float32)
    for down, right in NEIGHBOURS:
        here = (
            slice(max(0, -down), shape[0] - max(0, down)),
            slice(max(0, -right), shape[1] - max(0, right)),
        )
        there = (
            slice(max(0, down), shape[0] - max(0, -down)),
            slice(max(0, right), shape[1] - max(0, -right)),
        )
        alike = part[here] == part[there]
        alike &= dot(normal[here], normal[there]) > 0.95
        total[here] += np.where(alike[..., None], light[there], 0)
        weight[here] += alike
    return (total / weight[..., None]).reshape(shape[0] * shape[1], -1)


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
    facing = -dot(direction, hits.normal)
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
