"""A folder of frames, with what the caller says in place of what it tells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto.lifting.frame import Frame, Intrinsics
from concerto.lifting.inputs import as_intrinsics, as_pose, check_counts, poses_of
from concerto.lifting.layouts import open_recording
from concerto.lifting.recording import FrameFiles, Recording


@dataclass(frozen=True)
class Folder:
    """A recording. poses: those given for its frames, or None. The frames go by their number."""

    recording: Recording
    poses: list[Any] | None
    world_to_camera: bool

    @property
    def frames(self) -> tuple[FrameFiles, ...]:
        """Where the frames lie, with the cameras that were given."""
        return self.recording.frames

    def camera(self, number: int, image: NDArray[np.uint8]) -> Intrinsics:
        """Of a frame's colour image (H, W, 3). Raises InputError as `Recording.camera_of` does."""
        return self.recording.camera_of(self.frames[number], image)

    def pose(self, number: int) -> NDArray[np.float64]:
        """(4, 4) camera to world. Raises InputError where it cannot be read."""
        files = self.frames[number]
        given = self.recording.pose(files) if self.poses is None else self.poses[number]
        return as_pose(given, files.name, self.world_to_camera)

    def read(self, number: int) -> Frame:
        """A frame. Raises InputError where it cannot be read or used."""
        return self.recording.read(replace(self.frames[number], pose=self.pose(number)))


def open_folder(
    folder: Path,
    intrinsics: Any = None,
    poses: Any = None,
    world_to_camera: bool = False,
    depth_scale: float | None = None,
) -> Folder:
    """List the frames of a folder; intrinsics, poses and the rest are as in `lift`.

    Raises InputError as `open_recording` does, and where the counts differ.
    """
    cameras = None if intrinsics is None else as_intrinsics(intrinsics)
    one = cameras[0] if isinstance(cameras, list) else cameras
    recording = open_recording(folder, one, depth_scale)
    placed = None if poses is None else list(poses_of(poses))
    check_counts({"frames": recording.frames, "poses": placed})
    if isinstance(cameras, list):
        check_counts({"frames": recording.frames, "intrinsics": cameras})
        frames = zip(recording.frames, cameras, strict=True)
        own = tuple(replace(files, camera=camera, size=None) for files, camera in frames)
        recording = replace(recording, frames=own)
    return Folder(recording, placed, world_to_camera)
