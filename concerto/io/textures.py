"""Values at places inside triangles, and the pixels of textures there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from concerto.errors import InputError
from concerto.io.limits import MOST_PIXELS

# uv (n, 2) → colours (n, 3) uint8.
PixelAt = Callable[[np.ndarray], np.ndarray]


def blend(corners: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n, 3, d) values at corners, (n, 3) weights → (n, d)."""
    return np.asarray(np.einsum("nc,ncd->nd", weight, corners))


def pixels_of(image: Any) -> PixelAt:
    """The pixel at each place. Textures repeat beyond 0-1, and v goes up where rows go down.

    image: as pillow opens it. Raises InputError where it is too large to hold.
    """
    if image.width * image.height > MOST_PIXELS:
        raise InputError(
            f"Its texture has {image.width} x {image.height} pixels; at most {MOST_PIXELS:,} are "
            "read."
        )
    pixels = np.asarray(image.convert("RGB"))

    def pixel_at(uv: np.ndarray) -> np.ndarray:
        u, v = uv.T
        with np.errstate(invalid="ignore"):  # a uv that is not finite takes the first pixel
            column = np.nan_to_num(u % 1 * image.width).astype(int) % image.width
            row = np.nan_to_num((1 - v) % 1 * image.height).astype(int) % image.height
        return np.asarray(pixels[row, column])

    return pixel_at
