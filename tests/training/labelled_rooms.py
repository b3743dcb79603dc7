"""Rooms whose classes are easy to tell apart, to learn from in a moment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from concerto.training.scenes.encoded import EncodedSample

CLASSES = ("floor", "wall", "lamp")


def room(number: int, points: int = 400) -> EncodedSample:
    """A green floor and a red wall; nobody has a lamp."""
    random = np.random.default_rng(number)
    flat = random.random((points, 3)).astype(np.float32)
    wall = random.random(points) < 0.4
    flat[wall, 0], flat[~wall, 2] = 0, 0
    color = np.where(wall[:, None], (200, 40, 40), (40, 200, 40)) + random.integers(
        -30, 30, (points, 3)
    )
    normal = np.where(wall[:, None], (1, 0, 0), (0, 0, 1)).astype(np.float32)
    return EncodedSample(
        name=f"room_{number}",
        scene=f"room_{number}",
        coord=flat * 0.6,
        color=color.clip(0, 255).astype(np.uint8),
        normal=normal,
        segment=np.where(random.random(points) < 0.1, -1, wall).astype(np.int16),
    )


def repeated(count: int, first: int = 0) -> list[EncodedSample]:
    """Rooms with their points in two samples each, as if each had eight images."""
    rooms = [room(number) for number in range(first, first + count)]
    return [replace(one, name=f"{one.name}_{part}") for one in rooms for part in range(2)]
