"""Pieces of things: meshes of one material, and the material's looks.

A thing is built in a frame of its own: x to its right, y to its back, z up, its front towards -y,
standing on z = 0. A pattern is fixed to the piece that it is on: each vertex keeps the place at
which its texture is looked up, wherever the piece is moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Vector = tuple[float, float, float]


class Spots(NamedTuple):
    """Places on a surface, at which a texture is asked for.

    place: (n, 3) float32 metres in the piece's frame. flat: (n, 2), those two of its axes that run
    along the surface, which is nearly across the third.
    """

    place: Floats
    flat: Floats


# Reflected shares of red, green, blue (n, 3) in 0-1, linear.
Texture = Callable[[Spots], Floats]


@dataclass(frozen=True)
class Material:
    """The looks of a surface.

    texture: its colours. gloss: strength of highlights, 0-1. glow: light that it gives off, as a
    multiple of its colours. upright: whether patterns keep the thing's axes, as on a picture;
    otherwise they run along the piece, as the grain of wood does. holes: share of the depths that a
    sensor misses on it.
    """

    texture: Texture
    gloss: float = 0.0
    glow: float = 0.0
    upright: bool = False
    holes: float = 0.0


@dataclass(frozen=True)
class Part:
    """A piece: a mesh of one material.

    vertex, normal: (v, 3) float64. place: (v, 3) where the texture is looked up. face: (f, 3)
    int64.
    """

    vertex: NDArray[np.float64]
    normal: NDArray[np.float64]
    place: NDArray[np.float64]
    face: NDArray[np.int64]
    material: Material

    def moved(self, x: float = 0, y: float = 0, z: float = 0) -> Part:
        """The piece at another place."""
        return replace(self, vertex=self.vertex + np.array([x, y, z]))

    def turned(self, axis: str, degrees: float, about: Vector = (0, 0, 0)) -> Part:
        """The piece turned about an axis through a point."""
        rotation, center = rotation_about(axis, degrees), np.array(about)
        return replace(
            self,
            vertex=(self.vertex - center) @ rotation.T + center,
            normal=self.normal @ rotation.T,
        )

    def bounds(self) -> NDArray[np.float64]:
        """(2, 3): the least and the largest coordinates."""
        return np.stack([self.vertex.min(0), self.vertex.max(0)])


def rotation_about(axis: str, degrees: float) -> NDArray[np.float64]:
    """The (3, 3) rotation about x, y or z."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation = np.eye(3)
    rotation[[first, second], [first, second]] = cos
    rotation[first, second], rotation[second, first] = -sin, sin
    return rotation


def make_part(
    vertex: NDArray[np.float64],
    normal: NDArray[np.float64],
    face: NDArray[np.int64],
    material: Material,
) -> Part:
    """A piece of vertices as they lie in the thing's frame; its pattern runs along it."""
    place = vertex
    if not material.upright:
        place = vertex[:, np.argsort(-np.ptp(vertex, axis=0), kind="stable")]
    return Part(vertex, normal, place, face, material)
