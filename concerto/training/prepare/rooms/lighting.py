"""How much light falls on surfaces: from windows and lamps with soft shadows, and from all around.

Direct light is sampled, one ray to each source for each of several rays of a pixel. Light that came
by way of other surfaces is taken as even, less where things are near (ambient occlusion).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.colors import srgb
from concerto.training.prepare.rooms.geometry import OFF, Geometry, Hits
from concerto.training.prepare.rooms.parts import Floats
from concerto.training.prepare.rooms.room import Room
from concerto.training.prepare.rooms.vectors import dot, length

# Metres within which things take light from each other's surroundings.
REACH = 1.4
AMBIENT_RAYS = 2
# Lamps that are traced at most, the strongest.
MOST_LAMPS = 4
# What the sun adds where it shines in, and metres beyond which nothing is in its way.
SUNLIGHT = srgb(1.0, 0.93, 0.82) * np.float32(5)
FAR = np.float32(30)


@dataclass(frozen=True)
class Source:
    """A flat window (side_u, side_v: its sides; normal: into the room), a lamp (radius), or the
    sun (is_far).

    at: middle; of the sun, the direction to it. power: (3,) of a lamp, as the light at 1 m; of a
    window, its brightness; of the sun, its light on what faces it.
    """

    at: Floats
    power: Floats
    radius: float = 0.0
    side_u: Floats | None = None
    side_v: Floats | None = None
    normal: Floats | None = None
    is_far: bool = False


def sources(room: Room) -> list[Source]:
    """What shines in a room."""
    lamps, windows = [], []
    sky = srgb(0.9, 0.95, 1.0)
    for item in room.items:
        if item.light is not None and item.light.power.max() > 0:
            at = item.to_room(np.array([item.light.at]))[0]
            lamps.append(Source(_f32(at), item.light.power, item.light.radius))
        if item.kind is Kind.WINDOW:
            pane = item.parts[0]
            low, high = pane.bounds()
            corners = np.array(
                [[low[0], low[1], low[2]], [high[0], low[1], low[2]], [low[0], low[1], high[2]]]
            )
            a, b, c = item.to_room(corners)
            inward = np.cross(b - a, c - a)
            inward /= np.linalg.norm(inward)
            middle = item.to_room(np.array([[0.0, 0.0, 0.0]]))[0]
            if (middle - a) @ inward < 0:
                inward = -inward
            windows.append(
                Source(
                    _f32((b + c) / 2),
                    sky * np.float32(pane.material.glow),
                    0.0,
                    _f32(b - a),
                    _f32(c - a),
                    _f32(inward),
                )
            )
    if room.sun is not None:
        windows.append(Source(_f32(room.sun), SUNLIGHT, is_far=True))
    lamps.sort(key=lambda one: -float(one.power.sum()))
    return windows + lamps[:MOST_LAMPS]


def ambient_level(room: Room, lights: list[Source]) -> Floats:
    """Light from all around (3,): what sources give, spread over the room's surfaces."""
    width, depth, height = room.size
    area = 2 * (width * depth + width * height + depth * height)
    total = np.full(3, 0.06, np.float32)
    for light in lights:
        if light.side_u is not None and light.side_v is not None:
            total += (
                light.power
                * np.linalg.norm(light.side_u)
                * np.linalg.norm(light.side_v)
                * np.pi
                / area
                * 1.6
            )
        elif not light.is_far:
            total += light.power * 4 * np.pi / area * 1.2
    return total


class Shaded(NamedTuple):
    """Of n hits: color (n, 3), the reflected share; fallen (n, 3), the light that falls there;
    shine (n, 3), highlights; glow (n, 3), light that is given off."""

    color: Floats
    fallen: Floats
    shine: Floats
    glow: Floats


def shade(
    geometry: Geometry,
    hits: Hits,
    view: Floats,
    lights: list[Source],
    ambient: Floats,
    turn: tuple[int, int],
    rng: Generator,
) -> Shaded:
    """Light at hits. view: (n, 3) the rays' directions. turn: which of how many such calls for the
    same pixels this is; each samples its part of the lights and of the surroundings."""
    color, gloss, glow = geometry.colors(hits)
    origin = hits.point + OFF * hits.normal
    fallen = _ambient(geometry, origin, hits.normal, turn, rng)[:, None] * ambient
    shine = np.zeros_like(fallen)
    mirrored = view - 2 * dot(view, hits.normal)[:, None] * hits.normal
    for light in lights:
        rows, strength, toward = _direct(geometry, origin, hits.normal, light, turn, rng)
        fallen[rows] += strength[:, None] * light.power
        peak = dot(mirrored[rows], toward).clip(0) ** 24
        shine[rows] += (1.2 * strength * peak * gloss[rows])[:, None] * light.power
    return Shaded(color, fallen, shine, color * glow[:, None])


def _direct(
    geometry: Geometry,
    origin: Floats,
    normal: Floats,
    light: Source,
    turn: tuple[int, int],
    rng: Generator,
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The rows (r,) at which a source's light arrives, how much of it (r,), and the direction
    (r, 3) that it comes from."""
    count = len(origin)
    if light.side_u is not None and light.side_v is not None and light.normal is not None:
        place = rng.random((count, 2), np.float32)
        place[:, 0] = (place[:, 0] + turn[0]) / turn[1]
        place -= np.float32(0.5)
        target = light.at + place[:, :1] * light.side_u + place[:, 1:] * light.side_v
    elif light.is_far:
        target = origin + FAR * light.at
    else:
        offset = rng.normal(size=(count, 3)).astype(np.float32)
        offset *= np.float32(light.radius) / length(offset)[:, None]
        target = light.at + offset
    toward = target - origin
    rows = np.flatnonzero(dot(toward, normal) > 0)
    toward = toward[rows]
    distance = length(toward)
    toward /= np.maximum(distance, 1e-6)[:, None]
    falling = dot(toward, normal[rows])
    if light.normal is not None and light.side_u is not None and light.side_v is not None:
        area = float(np.linalg.norm(light.side_u) * np.linalg.norm(light.side_v))
        leaving = (-(toward @ light.normal)).clip(0)
        strength = falling * leaving * area / np.maximum(distance, 0.3) ** 2
    elif light.is_far:
        strength = falling
    else:
        strength = falling / np.maximum(distance, 0.25) ** 2
    lit = np.flatnonzero(strength > 1e-4)
    lit = lit[geometry.open(origin[rows[lit]], toward[lit], distance[lit])]
    return rows[lit], strength[lit], toward[lit]


def _ambient(
    geometry: Geometry, origin: Floats, normal: Floats, turn: tuple[int, int], rng: Generator
) -> Floats:
    """(n,) how open the surroundings are, 0-1; brighter from above."""
    total = np.zeros(len(origin), np.float32)
    for half in range(AMBIENT_RAYS):
        # A point of the sphere about the tip of the normal: directions as light falls in (cosine).
        one, two = rng.random((2, len(origin)), np.float32)
        level = 2 * (one + turn[0]) / turn[1] - 1
        angle = 2 * np.pi * (two + half) / AMBIENT_RAYS
        flat = np.sqrt((1 - level**2).clip(0))
        way = np.stack([flat * np.cos(angle), flat * np.sin(angle), level], 1) + normal
        way /= np.maximum(length(way)[:, None], 1e-6)
        way = way.astype(np.float32)
        near = geometry.reach(origin, way, REACH) / REACH
        total += (0.2 + 0.8 * near**0.7) * (0.85 + 0.3 * way[:, 2])
    return np.asarray(total / AMBIENT_RAYS, np.float32)


def _f32(values: object) -> Floats:
    return np.asarray(values, np.float32)
