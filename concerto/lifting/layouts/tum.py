"""TUM RGB-D: `rgb.txt`, `depth.txt` and `groundtruth.txt`, whose lines belong together by time.

Its own numbers: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.conventions import quaternion, rigid
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts.common import Cameras, of_one_camera
from concerto.lifting.recording import FrameFiles, Recording, read_table, tell_left_out

DEPTH_SCALE = 5000.0
CAMERAS = {
    "freiburg1": Intrinsics(517.3, 516.5, 318.6, 255.3),
    "freiburg2": Intrinsics(520.9, 521.0, 325.1, 249.7),
    "freiburg3": Intrinsics(535.4, 539.2, 320.1, 247.6),
}
# Seconds by which an image, its depth and its pose may be apart: less than a frame's 33 ms.
APART = 0.02


def holds(folder: Path) -> bool:
    """Whether images and depths are listed by their times."""
    return (folder / "rgb.txt").is_file() and (folder / "depth.txt").is_file()


def read(
    folder: Path, intrinsics: Intrinsics | None = None, depth_scale: float | None = None
) -> Recording:
    """The images that have a depth image and a pose near them in time; others with a warning.

    Raises InputError where a list is none, or the folder does not tell its camera.
    """
    frames, cameras = _frames(folder), _cameras(folder, intrinsics)
    return of_one_camera(folder, frames, cameras, depth_scale or DEPTH_SCALE)


def _frames(folder: Path) -> list[FrameFiles]:
    """The images that have a depth image and a pose near them in time."""
    if not (folder / "groundtruth.txt").is_file():
        raise InputError(f"{folder} has no groundtruth.txt with poses: time, position, quaternion.")
    color_times, colors = _table(folder / "rgb.txt", 1)
    depth_times, depths = _table(folder / "depth.txt", 1)
    pose_times, poses = _table(folder / "groundtruth.txt", 7)
    depth_of, pose_of = _nearest(color_times, depth_times), _nearest(color_times, pose_times)
    frames, left_out = [], []
    for (color,), depth, pose in zip(colors, depth_of, pose_of, strict=True):
        if depth < 0 or pose < 0:
            left_out.append(color)
            continue
        frames.append(
            FrameFiles(
                f"{folder.name}/{Path(color).stem}",
                folder / color,
                folder / depths[depth][0],
                _pose([float(value) for value in poses[pose]]),
            )
        )
    lack = f"a depth image or a pose within {APART * 1000:g} ms"
    tell_left_out(folder, left_out, len(colors), lack)
    return frames


def _table(file: Path, columns: int) -> tuple[NDArray[np.float64], list[list[str]]]:
    """The times, and what stands behind each, sorted by time."""
    rows = read_table(file, 1 + columns)
    try:
        numbers = [list(map(float, row[: 1 if columns == 1 else 8])) for row in rows]
    except ValueError as error:
        raise InputError(f"{file}: a row does not hold numbers: {error}.") from error
    order = np.argsort([row[0] for row in numbers], kind="stable")
    times = np.array([numbers[at][0] for at in order], np.float64)
    return times, [rows[at][1 : 1 + columns] for at in order]


def _nearest(times: NDArray[np.float64], others: NDArray[np.float64]) -> list[int]:
    """For each time the index of the nearest of others (sorted), -1 where it is too far."""
    if not len(others):
        return [-1] * len(times)
    after = np.searchsorted(others, times).clip(1, max(1, len(others) - 1))
    before = after - 1
    after = after.clip(max=len(others) - 1)
    nearest = np.where(times - others[before] <= others[after] - times, before, after)
    return [
        int(at) if abs(others[at] - time) <= APART else -1
        for at, time in zip(nearest, times, strict=True)
    ]


def _pose(values: list[float]) -> NDArray[np.float64]:
    """The 4×4 matrix of tx ty tz qx qy qz qw; NaN where the quaternion is zero."""
    return rigid(quaternion(values[3:]), values[:3])


def _cameras(folder: Path, given: Intrinsics | None) -> Cameras:
    if given is not None:
        return given, None
    for name, camera in CAMERAS.items():
        if name in folder.resolve().name.lower():
            return camera, camera
    raise InputError(
        f"{folder} does not tell its camera, as names with {', '.join(CAMERAS)} do. Pass "
        "intrinsics=(fx, fy, cx, cy), in pixels; intrinsics=(525, 525, 319.5, 239.5) fits most "
        "Kinects."
    )
