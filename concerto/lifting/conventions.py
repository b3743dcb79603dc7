"""Cameras as other software writes them: its axes, quaternions, lenses and pixel centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.frame import Intrinsics

# OpenGL's camera (ARKit, nerfstudio, Blender) has y up and looks along -z.
FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
# Pixels by which a lens may move a corner of the image and still pass for a pinhole.
MOST_DISTORTION = 2.0


def rigid(
    rotation: NDArray[np.float64], place: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """(4, 4) of a rotation (3, 3) and a translation (3,)."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, place
    return pose


def quaternion(xyzw: Sequence[float]) -> NDArray[np.float64]:
    """The rotation (3, 3) of a quaternion x y z w; NaN where it is zero."""
    from scipy.spatial.transform import Rotation

    if not np.linalg.norm(xyzw) > 0:
        return np.full((3, 3), np.nan)
    return np.asarray(Rotation.from_quat(xyzw).as_matrix())


def inverse(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """World to camera from camera to world, and back, of a rigid motion (4, 4)."""
    rotation = pose[:3, :3].T
    return rigid(rotation, -rotation @ pose[:3, 3])


def first_pixel_at_half(fx: float, fy: float, cx: float, cy: float) -> Intrinsics:
    """Intrinsics of who puts the centre of the first pixel at (0.5, 0.5), as COLMAP does."""
    return Intrinsics(fx, fy, cx - 0.5, cy - 0.5)


def check_pinhole(
    name: str, camera: Intrinsics, size: tuple[int, int], radial: Sequence[float], fix: str
) -> None:
    """Raise InputError where a lens bends the image visibly.

    size: width, height. radial: k1, k2 and so on of r², r⁴ …; tangential terms are as small as
    pixels go. fix: what to do about it.
    """
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size], np.float64)
    offset = corners - [camera.cx, camera.cy]
    square = ((offset / [camera.fx, camera.fy]) ** 2).sum(1)
    factor = sum(k * square ** (power + 1) for power, k in enumerate(radial))
    moved = float(np.max(np.abs(factor) * np.linalg.norm(offset, axis=1), initial=0))
    if moved > MOST_DISTORTION:
        raise InputError(
            f"{name}: its lens moves a corner of the image by {moved:.0f} pixels (distortion "
            f"{', '.join(f'{k:g}' for k in radial)}), and a pinhole is expected. {fix}"
        )
