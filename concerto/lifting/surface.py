"""What one depth image says of the world: points, their normals, and how far to trust each.

A plane is linear in the image once depth is inverted: 1/z = a·x + b·y + c over pixels x, y, and its
normal is read off a, b and c. So normals come from differences of inverse depth, averaged over a
window, in a few passes over the image; and a sensor's steps, which are even in disparity, weigh
alike near and far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto.lifting.frame import Intrinsics

Floats = NDArray[np.float32]

# Neighbouring pixels whose inverse depths differ by more than this share lie on two surfaces, or
# are flying between them. At a focal length of 500 pixels a plane reaches it seen at 86°.
JUMP = 0.03
# Slopes are averaged over this many pixels, squared: some 2 cm at 2 m, and a sensor's steps vanish.
WINDOW = 9
# Cosine of the angle between normal and line of sight from which on a pixel is used.
GRAZING = 0.1


class Surface(NamedTuple):
    """n pixels of a depth image as pieces of surface, in camera coordinates.

    point: (3, n) float32 metres. normal: (3, n) float32 of unit length, towards the camera.
    weight: (n,) float32 > 0, the confidence. pixel: (n,) int64 index into the flattened image.
    """

    point: Floats
    normal: Floats
    weight: Floats
    pixel: NDArray[np.int64]


def surface(depth: Floats, camera: Intrinsics, max_depth: float) -> Surface:
    """The surface that a depth image (h, w) shows, without flying pixels and grazing views.

    max_depth: metres, beyond which nothing is used.
    """
    measured = (depth > 0) & (depth <= max_depth)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(measured, 1 / depth, np.float32(np.nan))
        jump_x, slope_x = _slopes(inverse)
        jump_y, slope_y = _slopes(inverse.T)
        flying = jump_x | jump_y.T
        slope_y = slope_y.T
        usable = measured & ~flying & np.isfinite(slope_x) & np.isfinite(slope_y)
    pixel = usable.ravel().nonzero()[0]
    row, column = np.divmod(pixel, depth.shape[1])
    x = column.astype(np.float32) - np.float32(camera.cx)
    y = row.astype(np.float32) - np.float32(camera.cy)
    z = depth.ravel()[pixel]
    a, b = slope_x.ravel()[pixel], slope_y.ravel()[pixel]
    point = np.stack([x * z / np.float32(camera.fx), y * z / np.float32(camera.fy), z])
    # A plane n·p = 1 with p = z·(x/fx, y/fy, 1) has n = (a·fx, b·fy, 1/z − a·x − b·y).
    normal = np.stack([a * np.float32(camera.fx), b * np.float32(camera.fy), 1 / z - a * x - b * y])
    length = np.sqrt(np.einsum("cn,cn->n", normal, normal))
    cosine = 1 / (length * np.sqrt(np.einsum("cn,cn->n", point, point)))
    facing = cosine > GRAZING
    weight = cosine / noise(z) ** 2
    return Surface(point[:, facing], (normal / -length)[:, facing], weight[facing], pixel[facing])


def noise(z: Floats) -> Floats:
    """Standard deviation (m) of a depth of z metres, as of a Kinect (Nguyen et al. 2012, eq. 3)."""
    return np.float32(0.0012) + np.float32(0.0019) * (z - np.float32(0.4)) ** 2


def _slopes(inverse: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Along the rows of inverse depth (h, w), NaN where unknown.

    Returns (h, w) whether a pixel has a jump beside it, and (h, w) the mean difference of
    neighbours around each pixel, jumps left out, NaN where there are none.
    """
    from scipy.ndimage import uniform_filter

    step = inverse[:, 1:] - inverse[:, :-1]
    jumps = np.abs(step) > JUMP * inverse[:, 1:]
    known = np.isfinite(step) & ~jumps
    step = np.where(known, step, 0)
    beside = np.zeros(inverse.shape, bool)
    beside[:, 1:] |= jumps
    beside[:, :-1] |= jumps
    # Steps lie between pixels: each counts for both sides, so that sums are centred on pixels.
    total = np.zeros_like(inverse)
    total[:, 1:] += step
    total[:, :-1] += step
    count = np.zeros_like(inverse)
    count[:, 1:] += known
    count[:, :-1] += known
    total, count = (uniform_filter(image, WINDOW, mode="constant") for image in (total, count))
    # Below a tenth of a step the average is rounding of the filter's running sums.
    return beside, np.where(count * WINDOW**2 > 0.1, total / count, np.float32(np.nan))
