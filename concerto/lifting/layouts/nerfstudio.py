"""nerfstudio's `transforms.json`, as ns-process-data, Polycam and many others write it.

Poses are camera to world with OpenGL's axes. Where depth was recorded, lengths are metres; poses
that COLMAP found have no scale. https://docs.nerf.studio/quickstart/data_conventions.html
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from concerto.errors import InputError
from concerto.io.pictures import read_bytes
from concerto.lifting.conventions import FROM_OPENGL, check_pinhole, first_pixel_at_half
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts.common import with_cameras
from concerto.lifting.recording import FrameFiles, Recording

FILE = "transforms.json"
# Steps a metre of nerfstudio's depth images, where its file does not say.
DEPTH_SCALE = 1000.0
# The camera models that are a pinhole where their lens does not bend.
PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
UNDISTORT = "Undistort the images, such as with COLMAP's image_undistorter."


def holds(folder: Path) -> bool:
    """Whether a folder has a transforms.json."""
    return (folder / FILE).is_file()


def read(
    folder: Path, intrinsics: Intrinsics | None = None, depth_scale: float | None = None
) -> Recording:
    """The frames of a folder with a transforms.json.

    Raises InputError where the file is none, lacks what a camera takes, or has a bent lens or
    another projection.
    """
    frames, scale = _frames(folder)
    metric = any(frame.depth is not None for frame in frames)
    return with_cameras(folder, frames, intrinsics, depth_scale, scale, metric)


def _frames(folder: Path) -> tuple[list[FrameFiles], float]:
    """The frames, and the steps of depth a metre."""
    file = folder / FILE
    try:
        content = json.loads(read_bytes(file))
        frames = content["frames"]
        scale = _depth_scale(file, float(content.get("depth_unit_scale_factor", 1 / DEPTH_SCALE)))
        listed = [_frame(folder, content | frame) for frame in frames]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{file} is no list of frames as nerfstudio writes it: {error}."
        ) from error
    except KeyError as error:
        raise InputError(f"{file} does not tell {error} of its frames or camera.") from error
    return listed, scale


def _depth_scale(file: Path, unit: float) -> float:
    """Steps a metre, of metres a step."""
    if not (unit > 0 and 0 < 1 / unit < np.inf):
        raise InputError(
            f"{file}: depth_unit_scale_factor is {unit:g}; expected the metres of a step of depth, "
            "such as 0.001."
        )
    return 1 / unit


def _frame(folder: Path, values: dict[str, Any]) -> FrameFiles:
    """values: the frame's, and where it does not have them, the file's."""
    name, depth = values["file_path"], values.get("depth_file_path")
    pose = np.array(values["transform_matrix"], np.float64)
    if pose.shape != (4, 4):
        raise InputError(f"{folder / name}: the pose is of shape {pose.shape}; expected (4, 4).")
    camera, size = _camera(str(folder / name), values)
    return FrameFiles(
        f"{folder.name}/{Path(name).as_posix()}",
        folder / name,
        None if depth is None else folder / depth,
        pose @ FROM_OPENGL,
        camera=camera,
        size=size,
    )


def _camera(name: str, values: dict[str, Any]) -> tuple[Intrinsics, tuple[int, int]]:
    """The camera, and the height and width of the images that it is of."""
    # instant-ngp's name for it.
    fisheye = "OPENCV_FISHEYE" if values.get("is_fisheye") else None
    model = fisheye or values.get("camera_model") or "PINHOLE"
    if model not in PINHOLES:
        raise InputError(
            f"{name}: its camera_model is {model}, and a pinhole is expected: one of "
            f"{', '.join(PINHOLES)}. {UNDISTORT}"
        )
    fx = float(values["fl_x"])
    camera = first_pixel_at_half(
        fx, float(values.get("fl_y", fx)), float(values["cx"]), float(values["cy"])
    )
    radial = [float(values.get(f"k{power}", 0)) for power in (1, 2, 3, 4)]
    width, height = float(values["w"]), float(values["h"])
    if not np.isfinite([width, height, *radial]).all():
        raise InputError(
            f"{name}: w, h and k1 to k4 of its camera are {[width, height, *radial]}; expected "
            "finite numbers."
        )
    check_pinhole(name, camera, (int(width), int(height)), radial, UNDISTORT)
    return camera, (int(height), int(width))
