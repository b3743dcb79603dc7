"""ARKitScenes: what phones with depth recorded of rooms, and others laid out.

Images, depths and intrinsics lie in folders beside `lowres_wide.traj`, and belong together by time.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.conventions import inverse, rigid
from concerto.lifting.frame import Intrinsics
from concerto.lifting.recording import FrameFiles, read_matrix, read_table

# Seconds by which an image and its pose may be apart; poses come ten times a second.
APART = 0.06


def is_arkitscenes(folder: Path) -> bool:
    """Whether a folder is a scene of ARKitScenes."""
    return (folder / "lowres_wide.traj").is_file()


def read_arkitscenes(folder: Path) -> list[FrameFiles]:
    """The frames of a scene that have a depth image, intrinsics and a pose near them in time.

    Raises InputError where the trajectory is no table of numbers.
    """
    rows = read_table(folder / "lowres_wide.traj", 7)
    try:
        values = np.array([row[:7] for row in rows], np.float64).reshape(-1, 7)
    except ValueError as error:
        raise InputError(f"{folder / 'lowres_wide.traj'}: {error}.") from error
    frames = []
    for image in sorted((folder / "lowres_wide").glob("*.png"), key=_time):
        depth = folder / "lowres_depth" / image.name
        camera = folder / "lowres_wide_intrinsics" / f"{image.stem}.pincam"
        near = np.abs(values[:, 0] - _time(image))
        if not (len(near) and near.min() <= APART and depth.is_file() and camera.is_file()):
            continue
        intrinsics, size = _pincam(camera)
        frames.append(
            FrameFiles(
                f"{folder.name}/{image.stem}",
                image,
                depth,
                _from_axis_angle(values[near.argmin(), 1:]),
                camera=intrinsics,
                size=size,
            )
        )
    return frames


def _from_axis_angle(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Camera to world from an axis times an angle and a translation, world to camera."""
    from scipy.spatial.transform import Rotation

    return inverse(rigid(Rotation.from_rotvec(values[:3]).as_matrix(), list(values[3:])))


def _pincam(file: Path) -> tuple[Intrinsics, tuple[int, int]]:
    """The camera, and its image's height and width, from width, height, fx, fy, cx, cy."""
    values = read_matrix(file).ravel()
    if len(values) != 6 or not np.isfinite(values).all():
        raise InputError(
            f"{file} holds {len(values)} numbers; expected width height fx fy cx cy, all finite."
        )
    return Intrinsics(*map(float, values[2:])), (int(values[1]), int(values[0]))


def _time(file: Path) -> float:
    """The seconds that a name such as 40753679_6791.442 ends in."""
    digits = re.search(r"(\d+(\.\d+)?)$", file.stem)
    return float(digits[1]) if digits else -1.0
