"""Points → a picture without holes, and its depth: discs as large as the gaps between points.

Two passes over the discs: the first finds the surface that is nearest in each pixel, the second
blends what lies on that surface, so that colours and depth run smoothly from point to point.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A point's neighbours are counted in the smallest tiles that find this many; sides are in pixels.
NEIGHBORS = 8
TILES = (2, 4, 8, 16, 32, 64, 128)
# How far behind the nearest point around a point is still on the surface, in tiles.
SURFACE = 4.0
# A disc's radius in gaps between points: points that lie at random leave few holes this way.
OVERLAP = 1.45
# Radii of discs, pixels; and the largest gap that is closed, in the cloud's median.
RADII = np.array([1, 1.5, 2, 3, 4, 6, 8, 11, 15, 20, 28, 40], dtype=np.float32)
LARGEST = 1.7
# The gap between points that are too few to have one, pixels.
LONE = 12.0
# How far behind the front a point still shows, in radii of its disc.
BLEND = 3.0
# Disc pixels worked on at once: bounds the memory.
CHUNK = 2**21


def draw(
    points: NDArray[np.float32], color: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Colour (H, W, 3) in 0-1 and depth (H, W), infinite where nothing is, both float32.

    And the radius of the median disc, pixels.

    points: (N, 3) float32, column, row and depth in pixels (`Viewpoint.project`). color: (N, 3)
    float32 in 0-1. size: (W, H) pixels.
    """
    width, height = size
    inside = ((points[:, :2] >= 0) & (points[:, :2] < size)).all(1) & np.isfinite(points[:, 2])
    points, color = points[inside], color[inside]
    radius = disc_radii(points, size)
    # A rim around the picture catches the parts of discs that hang over its edge.
    rim = int(RADII[-1]) + 1
    shape = (height + 2 * rim, width + 2 * rim)
    points = points + np.array([rim, rim, 0], dtype=np.float32)

    front = np.full(shape[0] * shape[1], np.inf, dtype=np.float32)
    for rows, pixel, distance in _discs(points, radius, shape[1]):
        # Cones rather than discs: of two points of a surface the one nearer in the picture wins.
        np.minimum.at(front, pixel, points[rows, 2] + distance)
    layer = np.zeros((4, len(front)), dtype=np.float32)
    weight = np.zeros(len(front), dtype=np.float32)
    for rows, pixel, distance in _discs(points, radius, shape[1]):
        on = points[rows, 2] + distance <= front[pixel] + BLEND * radius[rows]
        rows, pixel, distance = rows[on], pixel[on], distance[on]
        share = (1 - (distance / radius[rows]) ** 2) ** 2
        np.add.at(weight, pixel, share)
        for channel, value in zip(layer, (*color.T, points[:, 2]), strict=True):
            np.add.at(channel, pixel, share * value[rows])
    with np.errstate(invalid="ignore"):
        layer /= weight
    layer[:3, weight == 0] = 0
    layer[3, weight == 0] = np.inf
    picture = layer.reshape(4, *shape)[:, rim:-rim, rim:-rim]
    return np.moveaxis(picture[:3], 0, 2), picture[3], float(np.median(radius))


def disc_radii(points: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(N,) float32 of RADII: discs that close the gaps between points (N, 3) as seen, pixels.

    Lone points, and those behind others, get the median disc.
    """
    gap = np.full(len(points), np.inf)
    for tile in TILES:
        unknown = np.flatnonzero(np.isinf(gap))
        gap[unknown] = _gaps(points, size, tile)[unknown]
    known = np.isfinite(gap)
    median = np.median(gap[known]) if known.any() else LONE
    gap = np.where(known, np.minimum(gap, LARGEST * median), median)
    step = np.searchsorted(RADII, OVERLAP * gap)
    radii: NDArray[np.float32] = RADII[step.clip(max=len(RADII) - 1)]
    return radii


def _gaps(points: NDArray[np.float32], size: tuple[int, int], tile: int) -> NDArray[np.float64]:
    """(N,) how far apart points (N, 3) are, pixels, by how many share a 3 x 3 of tiles.

    Only the front surface counts. Infinite behind it, and where the points are too few to tell.
    """
    columns, rows = (-(-side // tile) for side in size)
    at = points[:, :2].astype(np.int64) // tile
    index = at[:, 1] * columns + at[:, 0]
    nearest = np.full(rows * columns, np.inf, dtype=np.float32)
    np.minimum.at(nearest, index, points[:, 2])
    nearest = _around(nearest.reshape(rows, columns), np.minimum).reshape(-1)
    on = points[:, 2] <= nearest[index] + SURFACE * tile
    count = np.bincount(index[on], minlength=rows * columns).reshape(rows, columns)
    near = _around(count, np.add)
    area = _around((count > 0).astype(np.int64), np.add) * tile**2
    gap = np.where(near >= NEIGHBORS, np.sqrt(area / np.maximum(near, 1)), np.inf)
    return np.where(on, gap.reshape(-1)[index], np.inf)


def _around(image: NDArray[Any], combine: np.ufunc) -> NDArray[Any]:
    """(H, W): each pixel of image (H, W) combined with its eight neighbours."""
    padded = np.pad(image, 1, mode="edge" if combine is np.minimum else "constant")
    rows = combine(combine(padded[:-2], padded[1:-1]), padded[2:])
    around: NDArray[Any] = combine(combine(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return around


def _discs(
    points: NDArray[np.float32], radius: NDArray[np.float32], width: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """The pixels of all discs, some at a time: whose (row of points), which pixel, and how far out.

    Pixels are numbered along rows `width` long; distances from the disc's centre are in pixels.
    """
    for r in RADII:
        steps = np.arange(-int(r) - 1, int(r) + 2)
        right, down = (a.reshape(-1) for a in np.meshgrid(steps, steps))
        reachable = np.hypot(right, down) < r + np.sqrt(0.5)
        right, down = right[reachable], down[reachable]
        same = np.flatnonzero(radius == r)
        for some in np.array_split(same, -(-len(same) * len(right) // CHUNK) or 1):
            corner = np.floor(points[some, :2])
            middle = corner + np.float32(0.5) - points[some, :2]
            across = middle[:, :1] + right.astype(np.float32)
            along = middle[:, 1:] + down.astype(np.float32)
            distance = np.sqrt(across * across + along * along)
            which, step = np.nonzero(distance < r)
            at = corner.astype(np.int64)
            first = at[:, 1] * width + at[:, 0]
            yield some[which], first[which] + (down * width + right)[step], distance[which, step]
