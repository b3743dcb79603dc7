"""LiDAR sweeps as raw float32: x y z reflectance (KITTI), or x y z reflectance ring (nuScenes)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from concerto.errors import ConcertoWarning, InputError
from concerto.io.columns import Fields

KITTI, NUSCENES = 4, 5
RINGS = 256
BRIGHTEST = 255  # KITTI's reflectance is 0 to 1, nuScenes' 0 to 255
# What a sweep's metres lie between, zeros aside; of other bytes as float32 a sixth do.
NEAREST, FARTHEST = 1e-6, 1e6
REFLECTANCE = (
    "Reflectance is not a colour, and no published model was trained with it: it is left out."
)


def read(path: Path, columns: int | None = None) -> Fields:
    """x y z; reflectance and ring are ignored.

    columns: float32 values a point. Without it the size of the file tells; where both 4 and 5 fit,
    it is 5 if the fifth values are all integers from 0 to 255, as rings are, else 4.

    Raises InputError where the size fits none, or the values are no sweep's of so many columns.
    """
    size = path.stat().st_size
    if columns is not None and columns < 3:
        raise InputError(f"columns is {columns}; x, y, z take at least 3.")
    fitting = [c for c in ([columns] if columns else [KITTI, NUSCENES]) if size % (4 * c) == 0]
    if not fitting:
        wanted = columns or f"{KITTI} or {NUSCENES}"
        raise InputError(
            f"Its {size:,} bytes are no whole number of points of {wanted} float32 values. "
            "Say how many there are: columns=…"
        )
    values = np.fromfile(path, dtype="<f4")
    if len(fitting) > 1:
        ring = values[NUSCENES - 1 :: NUSCENES]
        rings = (ring >= 0) & (ring < RINGS) & (ring == np.floor(ring))
        fitting = [NUSCENES if rings.all() else KITTI]
    coord = values.reshape(-1, fitting[0])[:, :3]
    far = np.abs(coord)
    if len(coord) and np.mean((far == 0) | (far > NEAREST) & (far < FARTHEST)) < 0.5:
        raise InputError("Most of its values are no distances: it does not look like a sweep.")
    if columns is None and len(coord):
        _check_reflectance(values[KITTI - 1 :: fitting[0]], fitting[0])
    if fitting[0] > 3:
        # The same words from the same place: Python shows such a warning once.
        warnings.warn(REFLECTANCE, ConcertoWarning, stacklevel=1)
    return {"coord": coord}


def _check_reflectance(values: np.ndarray, columns: int) -> None:
    """Raise InputError where a fourth column (N,) shows that the points have more columns, or 3."""
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= BRIGHTEST):  # NaN, too, is neither
        raise InputError(
            f"Its size fits points of {columns} float32 values, but the fourth of them goes from "
            f"{low:g} to {high:g}, and reflectance from 0 to 1 or to {BRIGHTEST}. Say how many "
            "there are: columns=…"
        )
