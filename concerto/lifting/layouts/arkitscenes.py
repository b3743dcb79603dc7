"""ARKitScenes: what phones with depth recorded of rooms, and others laid out.

Images, depths and intrinsics lie in folders beside `lowres_wide.traj`, and belong together by time.
Raw images come sixty times a second and poses ten times, so that most images lie between two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.conventions import inverse, rigid
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts.common import with_cameras
from concerto.lifting.recording import (
    FrameFiles,
    Recording,
    read_matrix,
    read_table,
    tell_left_out,
)

TRAJECTORY = "lowres_wide.traj"
# Seconds between two poses, ten times a second, beyond which those in between are not known.
APART = 0.15
# Seconds by which an image may be before the first pose or after the last: what the data set's own
# loader allows.
BEYOND = 0.005
# Seconds by which an image's intrinsics may be named after another time, as in that loader.
ROUNDED = 0.001


def holds(folder: Path) -> bool:
    """Whether a folder is a scene of ARKitScenes."""
    return (folder / TRAJECTORY).is_file()


def read(
    folder: Path, intrinsics: Intrinsics | None = None, depth_scale: float | None = None
) -> Recording:
    """The frames of a scene that have a depth image, intrinsics and poses around them in time.

    Raises InputError where the trajectory is no table of numbers, or there is no such frame.
    """
    return with_cameras(folder, _frames(folder), intrinsics, depth_scale)


def _frames(folder: Path) -> list[FrameFiles]:
    trajectory = _read_trajectory(folder / TRAJECTORY)
    images = sorted((folder / "lowres_wide").glob("*.png"), key=_time)
    frames, left_out = [], []
    for image in images:
        depth = folder / "lowres_depth" / image.name
        camera = _find_pincam(folder / "lowres_wide_intrinsics", image)
        pose = trajectory.at(_time(image))
        if camera is None or pose is None or not depth.is_file():
            left_out.append(image.name)
            continue
        intrinsics, size = _pincam(camera)
        frames.append(
            FrameFiles(
                f"{folder.name}/{image.stem}", image, depth, pose, camera=intrinsics, size=size
            )
        )
    lack = "a depth image or intrinsics of their name, or of poses around them in time"
    tell_left_out(folder, left_out, len(images), lack)
    return frames


@dataclass(frozen=True)
class _Trajectory:
    """Where a camera was. times (P,): seconds, rising. poses (P, 4, 4): camera to world."""

    times: NDArray[np.float64]
    poses: NDArray[np.float64]

    def at(self, time: float) -> NDArray[np.float64] | None:
        """The pose (4, 4) at a time, between the ones around it; None where it is not known."""
        after = int(np.searchsorted(self.times, time))
        if 0 < after < len(self.times):
            before = after - 1
            gap = float(self.times[after] - self.times[before])
            if gap <= APART:
                share = (time - float(self.times[before])) / gap
                return _between(self.poses[before], self.poses[after], share)
        for near in range(max(0, after - 1), min(after + 1, len(self.times))):
            if abs(self.times[near] - time) <= BEYOND:
                return np.asarray(self.poses[near])
        return None


def _read_trajectory(file: Path) -> _Trajectory:
    """From rows of a time, an axis times an angle, and a translation, world to camera."""
    from scipy.spatial.transform import Rotation

    rows = read_table(file, 7)
    try:
        values = np.array([row[:7] for row in rows], np.float64).reshape(-1, 7)
    except ValueError as error:
        raise InputError(f"{file}: {error}.") from error
    if not np.isfinite(values).all():
        raise InputError(f"{file} holds NaN or infinity. Leave these rows out.")
    times, first = np.unique(values[:, 0], return_index=True)
    poses = [
        inverse(rigid(Rotation.from_rotvec(row[1:4]).as_matrix(), row[4:])) for row in values[first]
    ]
    return _Trajectory(times, np.array(poses).reshape(-1, 4, 4))


def _between(
    one: NDArray[np.float64], other: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """The pose (4, 4) at a share, 0 to 1, of the way: along a line, turning about one axis."""
    from scipy.spatial.transform import Rotation, Slerp

    turn = Slerp([0, 1], Rotation.from_matrix([one[:3, :3], other[:3, :3]]))
    place = (1 - share) * one[:3, 3] + share * other[:3, 3]
    return rigid(turn(share).as_matrix(), place)


def _find_pincam(folder: Path, image: Path) -> Path | None:
    """An image's intrinsics, whose name may be a millisecond off its own, or None."""
    video, time = image.stem.rpartition("_")[0], _time(image)
    near = [f"{video}_{time + off:.3f}" for off in (-ROUNDED, ROUNDED)]
    files = [folder / f"{name}.pincam" for name in (image.stem, *near)]
    return next((file for file in files if file.is_file()), None)


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
