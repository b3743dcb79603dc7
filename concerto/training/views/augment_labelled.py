"""Random changes of a labelled scene: what it is probed and fine-tuned on.

Values and order are those published for both on indoor scenes (arXiv 2503.16429, 2510.23607).
Geometry moves as in pretraining, less often turned; a fifth of the points is left out; of colours
only contrast, offset and noise change. Arrays are as in `augment`.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from concerto.training.views.augment import blend, move, translate_color

DROP_SHARE = 0.2
ROTATE = 0.5
CONTRAST = 0.2
JITTER_COLOR, JITTER_SIGMA = 0.95, 0.05


def drop_points(points: int, random: Generator) -> np.ndarray:
    """Which of so many points are left out, (n,) bool: a fifth of them."""
    dropped = np.zeros(points, bool)
    dropped[random.choice(points, int(DROP_SHARE * points), replace=False, shuffle=False)] = True
    return dropped


def move_labelled(
    coord: np.ndarray, normal: np.ndarray, random: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and normals (3, n) float32, moved about 0; each rotation comes with p 0.5."""
    return move(coord, normal, ROTATE, random)


def color_labelled(color: np.ndarray, random: Generator) -> np.ndarray:
    """Colours (3, n) float32 in 0-1: with p 0.2 a random share of the way to full contrast, then
    `translate_color`, then with p 0.95 noise of 0.05. A cloud without colours, all 0, stays so."""
    if not color.any():
        return color
    if random.random() < CONTRAST:
        color = blend(color, stretch_contrast(color), random.random())
    color = translate_color(color, random)
    if random.random() < JITTER_COLOR:
        noise = random.standard_normal(color.shape, dtype=np.float32) * np.float32(JITTER_SIGMA)
        color = (color + noise).clip(0, 1)
    return color


def stretch_contrast(color: np.ndarray) -> np.ndarray:
    """Colours (3, n) of which each channel reaches from 0 to 1; one with a single value stays."""
    low, high = color.min(1, keepdims=True), color.max(1, keepdims=True)
    span = high - low
    stretched: np.ndarray = np.where(span > 0, (color - low) / np.where(span > 0, span, 1), color)
    return stretched
