"""Back to pixels: what points hold, seen through a camera.

Every point covers the pixels that its voxel does, the nearest wins (a z-buffer), and gaps between
them take what the nearest pixel has.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto.arguments import positive
from concerto.errors import InputError
from concerto.lifting.camera import Camera
from concerto.lifting.surface import noise
from concerto.points.convert import as_tensor
from concerto.points.point_cloud import PointCloud

# Points nearer than this (m) are in the lens.
NEAREST = 0.05
# A splat is at most so many pixels wide: a point in front of the lens is not to cover the picture.
WIDEST = 25
# Holes up to so many pixels wide are filled; beyond, nothing was seen.
HOLE = 16
# How many standard deviations of a depth sensor's noise a surface is thick, from its nearest point.
SCATTER = 8.0
# Enough points to tell the distance from one to the next by.
SAMPLE = 4096


def project(
    features: Tensor,
    cloud: PointCloud,
    camera: Camera,
    *,
    spacing: float | None = None,
    holes: int = HOLE,
) -> Tensor:
    """What a camera sees of features: (H, W, C) in their dtype, on their device; 0 where nothing.

    features: (N, C), a row a point; of an array, unsigned integers above 8 bits become int64.
    cloud: N points in the camera's world; those of NaN or infinity are seen nowhere. spacing:
    metres from one point to the next, by default as found. holes: pixels, how wide a gap may be to
    be filled.

    Raises InputError where features and cloud differ in length, spacing is not positive, or holes
    no whole number.
    """
    if not isinstance(features, Tensor):
        features = _numbers_or_truths(features)
    if features.ndim != 2 or len(features) != len(cloud):
        raise InputError(
            f"features have shape {tuple(features.shape)}; expected ({len(cloud)}, C), a row for "
            "each point. Of one value a point pass values[:, None]."
        )
    if not len(cloud):
        return features.new_zeros(camera.height, camera.width, features.shape[1])
    rows = torch.from_numpy(rows_seen(cloud, camera, spacing=spacing, holes=holes))
    rows = rows.to(features.device)
    picture = features.index_select(0, rows.flatten().clamp(min=0))
    picture = picture.masked_fill_((rows.flatten() < 0)[:, None], 0)
    return picture.view(*rows.shape, features.shape[1])


def rows_seen(
    cloud: PointCloud, camera: Camera, *, spacing: float | None = None, holes: int = HOLE
) -> NDArray[np.int64]:
    """For each pixel the point seen there: (H, W) int64, -1 where there is none."""
    if not isinstance(holes, Integral):
        raise InputError(f"holes is {holes!r}; it must be a whole number of pixels, 0 for none.")
    coord = cloud.coord.detach().cpu().numpy()
    spacing = find_spacing(coord) if spacing is None else positive(spacing, 1.0, "spacing")
    with np.errstate(invalid="ignore"):
        points = camera.to_camera(coord)
        row = (np.isfinite(points).all(0) & (points[2] > NEAREST)).nonzero()[0]
    points = points[:, row]
    place = camera.intrinsics.project(points)
    focal = max(camera.intrinsics.fx, camera.intrinsics.fy)
    reach = (spacing * focal / points[2] / 2).clip(0, WIDEST / 2)
    shape = (camera.height, camera.width)
    near = ((place > -reach - 1) & (place < np.array(shape[::-1])[:, None] + reach)).all(0)
    known = getattr(cloud, "confidence", None)
    weight = np.ones(len(coord), np.float32) if known is None else known.cpu().numpy()
    row, reach = row[near], reach[near]
    seen = _splat(place[:, near], points[2, near], reach, weight[row], row, camera, spacing)
    return _filled(seen, holes)


def find_spacing(coord: NDArray[np.floating]) -> float:
    """The usual distance (m) from a point to its nearest neighbour, as of a lattice's edge.

    coord: (n, 3), of which rows with NaN or infinity do not count.
    """
    from scipy.spatial import cKDTree

    coord = coord[np.isfinite(coord).all(1)]
    if len(coord) < 2:
        return 0.02
    chosen = np.random.default_rng(0).choice(len(coord), min(SAMPLE, len(coord)), replace=False)
    near, _ = cKDTree(coord).query(coord[chosen], k=min(5, len(coord)))
    return float(np.median(near[:, -1])) or 0.02


def _numbers_or_truths(features: Any) -> Tensor:
    if isinstance(features, np.ndarray) and features.dtype.kind == "b":
        return as_tensor(np.asarray(features, np.uint8), "features").bool()
    return as_tensor(features, "features")


def _splat(
    place: NDArray[np.float32],
    depth: NDArray[np.float32],
    reach: NDArray[np.float32],
    weight: NDArray[np.float32],
    row: NDArray[np.int64],
    camera: Camera,
    spacing: float,
) -> NDArray[np.int64]:
    """Squares around places (2, n), the nearest surface on top: rows (H, W), -1 for none.

    What noise scatters before and behind a surface is as thick as it: of the points that may be of
    the nearest surface, the one wins that is most in the middle of the pixel, and of the weighted
    mean of their depths.
    """
    height, width = camera.height, camera.width
    nearest = np.full(height * width, np.inf, np.float32)
    parts = []
    for y, x, part, off in _squares(place, reach):
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        pixel, part, off = y[inside] * width + x[inside], part[inside], off[inside]
        np.minimum.at(nearest, pixel, depth[part])
        parts.append((pixel, part, off))
    pixel, part, off = (np.concatenate(column) for column in zip(*parts, strict=True))
    front = nearest[pixel]
    top = depth[part] <= front + spacing + SCATTER * noise(front)
    pixel, part, off = pixel[top], part[top], off[top]
    total = np.bincount(pixel, weight[part], height * width)
    mean = np.bincount(pixel, weight[part] * depth[part], height * width) / np.maximum(total, 1e-30)
    off = off + ((depth[part] - mean[pixel]) / spacing) ** 2
    # The last of a pixel's writes stays: the best.
    order = np.argsort(-off, kind="stable")
    seen = np.full(height * width, -1, np.int64)
    seen[pixel[order]] = row[part[order]]
    return seen.reshape(height, width)


def _squares(
    place: NDArray[np.float32], reach: NDArray[np.float32]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """y, x, index of the place, squared distance to it: for all pixels within reach of places."""
    middle = np.rint(place).astype(np.int64)
    side = np.ceil(reach - 0.5).astype(np.int64).clip(min=0)
    squares = []
    for size in np.unique(side):
        part = (side == size).nonzero()[0]
        steps = np.arange(-size, size + 1)
        for down in steps:
            for right in steps:
                x, y = middle[0, part] + right, middle[1, part] + down
                off = (x - place[0, part]) ** 2 + (y - place[1, part]) ** 2
                within = (np.abs(x - place[0, part]) <= reach[part] + 0.5) & (
                    np.abs(y - place[1, part]) <= reach[part] + 0.5
                )
                squares.append((y[within], x[within], part[within], off[within]))
    if not squares:
        nothing = np.empty(0, np.int64)
        squares.append((nothing, nothing, nothing, np.empty(0, np.float32)))
    return squares


def _filled(seen: NDArray[np.int64], holes: int) -> NDArray[np.int64]:
    """Gaps between pixels that are known take the nearest of them."""
    from scipy.ndimage import binary_closing, distance_transform_edt

    if holes <= 0 or (seen >= 0).all() or not (seen >= 0).any():
        return seen
    reach = -(-holes // 2)
    known = np.pad(seen >= 0, reach + 1)
    closed = binary_closing(known, np.ones((3, 3), bool), iterations=reach)
    closed = closed[reach + 1 : -reach - 1, reach + 1 : -reach - 1]
    open_pixels = closed & (seen < 0)
    nearest = distance_transform_edt(seen < 0, return_distances=False, return_indices=True)
    filled = seen.copy()
    filled[open_pixels] = seen[tuple(axis[open_pixels] for axis in nearest)]
    return filled
