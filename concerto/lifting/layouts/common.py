"""What layouts share: how files are found, and what the caller says goes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from concerto.errors import InputError
from concerto.io.pictures import IMAGES
from concerto.lifting.frame import Intrinsics
from concerto.lifting.recording import FrameFiles, Recording, read_matrix

# Stored steps a metre of most depth images.
MILLIMETRES = 1000.0

# Of colour and of depth; None for depth that shows the image's view.
Cameras = tuple[Intrinsics, Intrinsics | None]


def with_cameras(
    folder: Path,
    frames: Sequence[FrameFiles],
    intrinsics: Intrinsics | None,
    depth_scale: float | None,
    own_scale: float = MILLIMETRES,
    metric: bool = True,
) -> Recording:
    """The recording of frames that bring a camera each along.

    intrinsics, depth_scale: what the caller says instead. own_scale: the layout's steps a metre.
    metric: whether poses are in metres.

    Raises InputError where there are no frames, or no depth has steps that a scale could be of.
    """
    if not frames or frames[0].camera is None:
        raise InputError(f"{folder} lists no frames.")
    name, camera = folder.resolve().name, frames[0].camera
    if depth_scale is not None and not any(isinstance(frame.depth, Path) for frame in frames):
        raise InputError(
            f"{name} holds no 16-bit depth images, of which depth_scale={depth_scale:g} "
            "could be the steps a metre. Leave it out."
        )
    if intrinsics is not None:
        frames = [replace(frame, camera=intrinsics, size=None) for frame in frames]
    return Recording(name, tuple(frames), camera, None, depth_scale or own_scale, metric)


def of_one_camera(
    folder: Path, frames: Sequence[FrameFiles], cameras: Cameras, depth_scale: float
) -> Recording:
    """The recording of frames that all have the same camera. Raises InputError where none are."""
    if not frames:
        raise InputError(f"{folder} lists no frames.")
    return Recording(folder.resolve().name, tuple(frames), *cameras, depth_scale=depth_scale)


def find_image(folder: Path, stem: str) -> Path:
    """The image of that name; where there is none, the first that it might have been."""
    files = [folder / f"{stem}{suffix}" for suffix in IMAGES]
    return next((file for file in files if file.is_file()), files[0])


def read_intrinsics(file: Path) -> Intrinsics:
    """From a 3x3 or 4x4 matrix. Raises InputError where the file holds none of a camera."""
    matrix = read_matrix(file)
    if matrix.ndim != 2 or matrix.shape[0] < 3 or matrix.shape[1] < 3:
        raise InputError(f"{file} holds {matrix.shape} numbers; expected a 3x3 or 4x4 matrix.")
    try:
        return Intrinsics.from_matrix(matrix)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
