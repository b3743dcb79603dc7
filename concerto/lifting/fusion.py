"""Frames → one cloud: what falls into a voxel is averaged, weighted by confidence.

Frames are added one at a time and then forgotten. What grows is the map of voxels: sorted keys
with sums beside them. A frame's own sums wait in a short queue and are merged into the map
together, so that the map is not moved about for every frame.
"""

from __future__ import annotations

from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.frame import Frame
from concerto.lifting.lifted import LiftedCloud
from concerto.lifting.surface import surface

VOXEL_SIZE = 0.02
# Depth cameras for rooms see no further, or badly; beyond, and below NEAREST, the unit is in doubt.
MAX_DEPTH = 8.0
NEAREST = 0.1
# A key has 21 bits an axis: 20 km each way from the origin with voxels of 2 cm.
BITS = 21
HALF = 2 ** (BITS - 1)
# Sums of a voxel: weight; weight times the offset from the voxel's centre (in voxels), the colour
# (0-255), the normal.
COLUMNS = 10
# Rows that wait at least, before they are merged: about 90 MB.
QUEUE = 2**21

Keys = NDArray[np.int64]
Sums = NDArray[np.float32]


class Lifter:
    """Fuses posed frames with depth, of any number, in memory that grows with what they show."""

    def __init__(self, voxel_size: float = VOXEL_SIZE, max_depth: float = MAX_DEPTH) -> None:
        """voxel_size: metres between points. max_depth: metres beyond which depth is not used."""
        _check_length("voxel_size", voxel_size, 0)
        _check_length("max_depth", max_depth, NEAREST)
        self.voxel_size, self.max_depth = voxel_size, max_depth
        self._map: tuple[Keys, Sums] = np.empty(0, np.int64), np.empty((0, COLUMNS), np.float32)
        self._queue: list[tuple[Keys, Sums]] = []
        self._frames = 0

    def add(self, frame: Frame) -> None:
        """Fuse a frame.

        Raises InputError where most of its depth is out of range, or its pose far away; the map is
        then as before.
        """
        check_range(frame, self.max_depth)
        self._queue.append(_sums(frame, self.voxel_size, self.max_depth))
        self._frames += 1
        if sum(len(keys) for keys, _ in self._queue) > max(QUEUE, len(self._map[0])):
            self._merge()

    def cloud(self) -> LiftedCloud:
        """What was fused so far: one point a voxel, sorted by voxel, with colour and normal.

        Raises InputError where nothing was.
        """
        self._merge()
        keys, sums = self._map
        if not len(keys):
            raise InputError(f"There is nothing to make a cloud of: {self._lack()}.")
        mean = sums[:, 1:] / sums[:, :1]
        coord = (_cells(keys) + 0.5 + mean[:, :3]) * self.voxel_size
        length = np.linalg.norm(mean[:, 6:], axis=1, keepdims=True)
        normal = mean[:, 6:] / np.maximum(length, np.finfo(np.float32).tiny)
        return LiftedCloud(
            torch.from_numpy(coord.astype(np.float32)),
            torch.from_numpy((mean[:, 3:6] / 255).clip(0, 1)),
            torch.from_numpy(normal),
            torch.from_numpy(sums[:, 0].copy()),
        )

    def cells(self) -> NDArray[np.int64]:
        """The voxels (n, 3) of the points of `cloud()`, numbered from the world's origin."""
        self._merge()
        return _cells(self._map[0])

    def _lack(self) -> str:
        if not self._frames:
            return "no frame was added"
        many = "the frame" if self._frames == 1 else f"the {self._frames} frames"
        return (
            f"no pixel of {many} can be used. Their depth has no confidence, jumps from pixel to "
            "pixel, or is of surfaces seen at a grazing angle"
        )

    def _merge(self) -> None:
        """Bring the queue into the map."""
        if self._queue:
            parts = [self._map, *self._queue]
            keys, sums = (np.concatenate(column) for column in zip(*parts, strict=True))
            self._map, self._queue = _grouped(keys, sums), []


def _check_length(name: str, given: float, least: float) -> None:
    if not isinstance(given, Real):
        raise InputError(f"{name} is {given!r}; it must be a number over {least:g} (metres).")
    if not given > least:
        raise InputError(f"{name} is {given:g}; it must be over {least:g} (metres).")


def _sums(frame: Frame, voxel_size: float, max_depth: float) -> tuple[Keys, Sums]:
    """A frame's voxels: sorted keys (v,), and sums (v, COLUMNS)."""
    seen = surface(used_depth(frame), frame.depth_camera, max_depth)
    rotation = frame.pose[:3, :3].astype(np.float32)
    # In voxels, and in float64 as far as the cell: poses may be kilometres from the origin.
    place = (rotation @ seen.point).T / np.float64(voxel_size) + frame.pose[:3, 3] / voxel_size
    cell = np.floor(place)
    columns = np.empty((len(cell), COLUMNS), np.float32)
    columns[:, 0] = 1
    columns[:, 1:4] = place - cell - 0.5
    columns[:, 4:7] = _colors(frame, seen.point, seen.pixel)
    columns[:, 7:] = (rotation @ seen.normal).T
    weight = seen.weight
    if frame.confidence is not None:
        weight = weight * frame.confidence.ravel()[seen.pixel]
    columns *= weight[:, None]
    return _grouped(_keys(cell, frame.name, voxel_size), columns)


def _colors(frame: Frame, point: NDArray[np.float32], pixel: NDArray[np.int64]) -> Sums:
    """The image's colours (n, 3), 0-255, at points (3, n) that are depth pixels (n,)."""
    height, width = frame.color.shape[:2]
    if frame.camera != frame.depth_camera:
        x, y = np.rint(frame.camera.project(point)).astype(np.int64)
        pixel = y.clip(0, height - 1) * width + x.clip(0, width - 1)
    return frame.color.reshape(-1, 3)[pixel].astype(np.float32)


def _keys(cell: NDArray[np.float64], name: str, voxel_size: float) -> Keys:
    """Keys (n,) that sort as the cells (n, 3) do."""
    if len(cell) and np.abs(cell).max() >= HALF:
        raise InputError(
            f"{name}: the pose puts points over {HALF} voxels of {voxel_size:g} m from the origin. "
            "Poses are in metres; subtract a common origin if these are map coordinates."
        )
    x, y, z = (axis.astype(np.int64) + HALF for axis in cell.T)
    return np.asarray((x << 2 * BITS) | (y << BITS) | z)


def _cells(keys: Keys) -> NDArray[np.int64]:
    """The cells (n, 3) of keys (n,)."""
    mask = 2**BITS - 1
    return np.asarray(np.stack([keys >> 2 * BITS, keys >> BITS & mask, keys & mask], 1) - HALF)


def _grouped(keys: Keys, sums: Sums) -> tuple[Keys, Sums]:
    """Rows of equal keys added up, sorted by key."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    is_first = np.ones(len(keys), bool)
    is_first[1:] = keys[1:] != keys[:-1]
    starts = is_first.nonzero()[0]
    if not len(starts):
        return keys, sums
    return keys[starts], np.add.reduceat(sums[order], starts, axis=0)


def used_depth(frame: Frame) -> NDArray[np.float32]:
    """A frame's depth (h, w), 0 also where its confidence is 0."""
    if frame.confidence is None:
        return frame.depth
    return np.where(frame.confidence > 0, frame.depth, np.float32(0))


def check_range(frame: Frame, max_depth: float) -> None:
    """Raise InputError where half of a frame's depths (m) are none that a depth camera measures."""
    depth = used_depth(frame)
    if not depth.any():
        return
    median = float(np.median(depth[depth > 0]))
    if not NEAREST <= median <= max_depth:
        raise InputError(
            f"{frame.name}: half of the depths are {'over' if median > 1 else 'under'} "
            f"{median:.3g} m; expected {NEAREST:g} to {max_depth:g} m. Is the unit right? "
            "Pass depth_scale=1000 for millimetres, depth_scale=5000 as TUM RGB-D stores depth; "
            "for a large space pass max_depth= in metres."
        )
