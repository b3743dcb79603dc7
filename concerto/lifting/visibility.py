"""Which points of a cloud a frame sees: those whose depth agrees with the depth image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from concerto.lifting.frame import Frame

# A fused point may be off by a voxel and the sensor's noise; a table's leg stands further away.
TOLERANCE = 0.05


def visible(
    coord: NDArray[np.floating], frame: Frame, tolerance: float = TOLERANCE
) -> NDArray[np.int64]:
    """The points that a frame sees: (m, 3) int64 rows of x pixel, y pixel, index of the point.

    coord: (n, 3) metres, in the world of the frame's pose. Pixels are those of the colour image. A
    point is seen where it falls into both images, and lies within `tolerance` metres of the depth
    measured there; where nothing was measured, nothing is seen.
    """
    points = frame.to_camera(coord)
    index = (points[2] > tolerance).nonzero()[0]
    points = points[:, index]
    x, y, inside = _pixels(frame.depth_camera.project(points), frame.depth.shape)
    points, index = points[:, inside], index[inside]
    measured = frame.depth[y, x]
    agrees = (measured > 0) & (np.abs(points[2] - measured) <= tolerance)
    points, index = points[:, agrees], index[agrees]
    x, y, inside = _pixels(frame.camera.project(points), frame.color.shape[:2])
    return np.stack([x, y, index[inside]], axis=1)


def _pixels(
    place: NDArray[np.float32], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """x and y of the pixels hit by places (2, n) in an image (h, w), and (n,) which hit one."""
    x, y = np.rint(place.clip(-1, max(shape))).astype(np.int64)
    inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
    return x[inside], y[inside], inside
