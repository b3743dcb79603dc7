"""A cloud as it is drawn: finite, few enough points, and each with a colour."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto.errors import InputError
from concerto.points.point_cloud import PointCloud

# More points than a screen has pixels show nothing more.
MOST_POINTS = 2_000_000
# What is farther from 0 than any place that was ever scanned counts as infinite: the lengths and
# areas of a picture must be finite too.
FARTHEST = 1e30
# From low to high: dark enough for a white page throughout, and told apart without red and green.
HEIGHTS = np.array(
    [
        [0.23, 0.25, 0.45],
        [0.16, 0.44, 0.58],
        [0.30, 0.63, 0.58],
        [0.72, 0.74, 0.48],
        [0.93, 0.66, 0.35],
    ]
)
# The share of points whose shade may saturate at either end.
SATURATED = 0.02


def drawn_rows(cloud: PointCloud) -> Tensor:
    """(M,) int64: the points to draw, evenly thinned to MOST_POINTS, without what is nowhere.

    That is NaN, infinity, and what is as good as infinity.

    Raises InputError where nothing is left.
    """
    rows = (cloud.coord.abs() <= FARTHEST).all(1).nonzero()[:, 0].cpu()
    if len(rows) == 0:
        raise InputError(
            f"There is nothing to draw: of {len(cloud)} points none has finite coordinates, up to "
            f"{FARTHEST:g} from 0."
        )
    if len(rows) > MOST_POINTS:
        rows = rows[torch.arange(MOST_POINTS) * len(rows) // MOST_POINTS]
    return rows


def coordinates(cloud: PointCloud, rows: Tensor) -> NDArray[np.float64]:
    """(M, 3) float64 of the points at rows (M,)."""
    coord: NDArray[np.float64] = cloud.coord.detach().cpu()[rows].double().numpy()
    return coord


def colors(cloud: PointCloud, rows: Tensor) -> NDArray[np.float32]:
    """(M, 3) float32 in 0-1 of the points at rows (M,): their own, or a shade of height."""
    if cloud.color is None:
        return height_colors(coordinates(cloud, rows)[:, 2])
    return clipped(cloud.color, rows)


def clipped(color: Tensor, rows: Tensor) -> NDArray[np.float32]:
    """(M, 3) float32 in 0-1: the colours (N, 3) at rows (M,), NaN as black."""
    picked: NDArray[np.float32] = (
        color.detach().cpu()[rows].float().nan_to_num(0).clamp(0, 1).numpy()
    )
    return picked


def height_colors(height: NDArray[np.float64]) -> NDArray[np.float32]:
    """(M, 3) float32 in 0-1 for heights (M,): dark blue where low, orange where high."""
    low, high = np.quantile(height, (SATURATED, 1 - SATURATED))
    share = (height - low) / (high - low) if high > low else np.full(len(height), 0.5)
    stops = np.linspace(0, 1, len(HEIGHTS))
    return np.stack([np.interp(share, stops, c) for c in HEIGHTS.T], axis=1).astype(np.float32)
