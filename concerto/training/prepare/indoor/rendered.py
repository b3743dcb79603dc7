"""Rendered views with exact depth → points, as Structured3D lays them out.

World: millimetres there, metres here, z up, right-handed. A panorama's columns go clockwise around
the camera, seen from above, with +y in the middle; a perspective view gives its line of sight and
its half angles of view. Both follow the data set's own code, `visualize_mesh.py` and
`misc/utils.py` of https://github.com/bertjiazheng/Structured3D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io.pictures import decode_depth, decode_labels, decode_photo

MILLIMETRES = 1000.0
# A surface that is seen at a flatter angle than this cosine says is smeared over depths.
FLATTEST = 0.15


@dataclass(frozen=True)
class Points:
    """coord: (n, 3) float64 metres. color: (n, 3) uint8. normal: (n, 3) float32. label: (n,)."""

    coord: NDArray[np.float64]
    color: NDArray[np.uint8]
    normal: NDArray[np.float32]
    label: NDArray[np.uint8]

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Points:
        return Points(self.coord[rows], self.color[rows], self.normal[rows], self.label[rows])

    @classmethod
    def joined(cls, parts: Sequence[Points]) -> Points:
        """One after another."""
        return cls(
            np.concatenate([part.coord for part in parts]),
            np.concatenate([part.color for part in parts]),
            np.concatenate([part.normal for part in parts]),
            np.concatenate([part.label for part in parts]),
        )


def panorama(photo: bytes, depth: bytes, labels: bytes, camera: bytes, name: str) -> Points:
    """Points of a panorama, which all directions are in; its depth is the distance.

    photo, depth, labels: PNG. camera: text, x y z. name: for messages.

    Raises InputError where one of them cannot be used.
    """
    images = _Images.decode(photo, depth, labels, name)
    position = _numbers(camera, 3, name)
    height, width = images.depth.shape
    across = (np.arange(width) / width - 0.5) * 2 * np.pi
    up = (0.5 - np.arange(height) / height) * np.pi
    rays = np.empty((height, width, 3))
    rays[..., 0] = np.cos(up)[:, None] * np.sin(across)
    rays[..., 1] = np.cos(up)[:, None] * np.cos(across)
    rays[..., 2] = np.sin(up)[:, None]
    return images.points(rays, position / MILLIMETRES)


def perspective(photo: bytes, depth: bytes, labels: bytes, camera: bytes, name: str) -> Points:
    """Points of a perspective view; its depth is that along the line of sight.

    photo, depth, labels: PNG. camera: text, position, line of sight, up, and half of the angle of
    view across and down, in radians. name: for messages.

    Raises InputError where one of them cannot be used.
    """
    images = _Images.decode(photo, depth, labels, name)
    values = _numbers(camera, 11, name)
    sight, up = (_unit(values[at : at + 3], name) for at in (3, 6))
    right = np.cross(sight, up)
    height, width = images.depth.shape
    x = (np.arange(width) / (width / 2) - 1) * np.tan(values[9])
    y = (np.arange(height) / (height / 2) - 1) * np.tan(values[10])
    rays = sight + x[None, :, None] * right - y[:, None, None] * np.cross(right, sight)
    return images.points(rays, values[:3] / MILLIMETRES)


def thinned(points: Points, voxel_size: float) -> Points:
    """The first point of each voxel, in the order they have."""
    if not len(points.coord):
        return points
    cells = np.floor(points.coord / voxel_size).astype(np.int64)
    cells -= cells.min(0)
    # One number a cell: rows of three are sorted several times as slowly.
    _, first = np.unique(np.ravel_multi_index(cells.T, cells.max(0) + 1), return_index=True)
    return points[np.sort(first)]


@dataclass(frozen=True)
class _Images:
    """A view's pixels. photo: (h, w, 3). depth: (h, w) metres, 0 unknown. labels: (h, w)."""

    photo: NDArray[np.uint8]
    depth: NDArray[np.float32]
    labels: NDArray[np.uint8]

    @classmethod
    def decode(cls, photo: bytes, depth: bytes, labels: bytes, name: str) -> _Images:
        """Raises InputError where one cannot be decoded, or their sizes differ."""
        images = cls(
            decode_photo(photo, f"{name}/rgb_rawlight.png"),
            decode_depth(depth, f"{name}/depth.png", MILLIMETRES),
            decode_labels(labels, f"{name}/semantic.png"),
        )
        if not images.photo.shape[:2] == images.depth.shape == images.labels.shape:
            raise InputError(
                f"{name}: the images differ in size: {images.photo.shape[:2]} of colour, "
                f"{images.depth.shape} of depth, {images.labels.shape} of labels."
            )
        return images

    def points(self, rays: NDArray[np.float64], position: NDArray[np.float64]) -> Points:
        """The pixels that have a depth and a label, and are not seen too flat.

        rays: (h, w, 3) what a metre of depth is. position: (3,) metres.
        """
        seen = rays * self.depth[..., None]
        normal = _normals(seen)
        distance = np.linalg.norm(seen, axis=-1)
        facing = -(normal * seen).sum(-1) / np.maximum(distance, 1e-9)
        keep = (self.depth > 0) & (self.labels > 0) & (np.abs(facing) > FLATTEST)
        toward = np.where(facing[keep] < 0, -1, 1)[:, None]
        return Points(
            coord=seen[keep] + position,
            color=self.photo[keep],
            normal=(normal[keep] * toward).astype(np.float32),
            label=self.labels[keep],
        )


def _normals(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """(h, w, 3) of unit length: across the steps to the next pixel right and down; 0 unknown."""
    right, down = np.diff(seen, axis=1), np.diff(seen, axis=0)
    right, down = (
        np.concatenate([right, right[:, -1:]], axis=1),
        np.concatenate([down, down[-1:]], axis=0),
    )
    normal = np.cross(right, down)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.asarray(normal / np.where(length > 0, length, 1))


def _numbers(text: bytes, count: int, name: str) -> NDArray[np.float64]:
    try:
        values = np.array(text.split(), np.float64)
    except ValueError as error:
        raise InputError(f"{name}: the camera's file holds no numbers: {error}.") from error
    if len(values) < count or not np.isfinite(values).all():
        raise InputError(f"{name}: the camera's file has {len(values)} numbers; expected {count}.")
    return np.asarray(values)


def _unit(vector: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    length = np.linalg.norm(vector)
    if not length > 0:
        raise InputError(f"{name}: the camera has no direction: its line of sight or up is zero.")
    return np.asarray(vector / length)
