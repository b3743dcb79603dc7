"""Folders of posed frames, as widespread data sets and tools lay them out.

- 7-Scenes, tsdf-fusion: `NAME.color.jpg`, `NAME.depth.png` and `NAME.pose.txt` beside each other.
- TUM RGB-D: `rgb.txt`, `depth.txt` and `groundtruth.txt`, whose lines belong together by time.
- ScanNet: a file `NAME.sens`, or the frames exported from it: `color/0.jpg`, `depth/0.png`,
  `pose/0.txt`, and `intrinsic/`.
- nerfstudio's `transforms.json`, COLMAP's models, Record3D and ARKitScenes: each in its module.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io.pictures import IMAGES
from concerto.lifting.arkitscenes import is_arkitscenes, read_arkitscenes
from concerto.lifting.colmap import find_model, read_colmap
from concerto.lifting.conventions import quaternion, rigid
from concerto.lifting.frame import Intrinsics
from concerto.lifting.nerfstudio import FILE, read_nerfstudio
from concerto.lifting.record3d import is_record3d, read_record3d
from concerto.lifting.recording import (
    FrameFiles,
    Recording,
    read_matrix,
    read_table,
    tell_left_out,
)
from concerto.lifting.sens import open_sens
from concerto.points.prepare import positive

KNOWN = (
    "NAME.color.jpg + NAME.depth.png + NAME.pose.txt (7-Scenes), rgb.txt + depth.txt + "
    "groundtruth.txt (TUM RGB-D), NAME.sens (ScanNet), color/ + depth/ + pose/ (its exported "
    "frames), transforms.json (nerfstudio), cameras and images in sparse/ (COLMAP), metadata + "
    "rgbd/ (an unpacked .r3d of Record3D), or lowres_wide.traj (ARKitScenes)"
)
SENS = ".sens"
MILLIMETRES = 1000.0
# TUM RGB-D's own numbers: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats
TUM_DEPTH_SCALE = 5000.0
TUM_CAMERAS = {
    "freiburg1": Intrinsics(517.3, 516.5, 318.6, 255.3),
    "freiburg2": Intrinsics(520.9, 521.0, 325.1, 249.7),
    "freiburg3": Intrinsics(535.4, 539.2, 320.1, 247.6),
}
# Seconds by which an image, its depth and its pose may be apart: less than a frame's 33 ms.
TUM_APART = 0.02

# Of colour and of depth; None for depth that shows the image's view.
Cameras = tuple[Intrinsics, Intrinsics | None]


def find_recordings(folder: Path) -> list[Path]:
    """The folder itself where it holds frames, else those of its subfolders that do, sorted.

    Of a folder with .sens files, these are meant; one such file may also be given. Raises
    InputError where there are no frames.
    """
    if folder.suffix == SENS and folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    found = _recordings(folder)
    for inner in [] if found else sorted(folder.iterdir()):
        found += _recordings(inner) if inner.is_dir() else []
    if not found:
        raise InputError(f"Neither {folder} nor a folder in it holds frames laid out as {KNOWN}.")
    return found


def open_recording(
    folder: Path, intrinsics: Intrinsics | None = None, depth_scale: float | None = None
) -> Recording:
    """List the frames of a folder, or of a .sens file; the images are read later, one at a time.

    intrinsics: of the colour images, scaled to the depth's size; by default what the folder tells.
    depth_scale: stored steps a metre; by default what a .sens tells, 5000 for TUM RGB-D, else 1000.

    Raises InputError where the folder is none of the known ones, or lists no frames, or does not
    tell the intrinsics.
    """
    positive(depth_scale, 1.0, "depth_scale")
    if folder.suffix == SENS:
        return open_sens(folder, intrinsics, depth_scale)
    if not folder.is_dir():
        raise InputError(
            f"{folder} is a file that is no recording; expected a folder, a video or a .sens."
            if folder.exists()
            else f"There is no folder {folder}."
        )
    layout = _layout(folder)
    posed = _with_cameras(folder)
    if posed is not None:
        return _given(posed, intrinsics, depth_scale)
    if layout == "tum":
        frames, cameras = _tum_frames(folder), _tum_cameras(folder, intrinsics)
    elif layout == "scannet":
        frames, cameras = _scannet_frames(folder), _scannet_cameras(folder, intrinsics)
    elif layout == "flat":
        frames, cameras = _flat_frames(folder), _flat_cameras(folder, intrinsics)
    else:
        raise InputError(f"{folder} does not hold frames laid out as {KNOWN}.{_hint(folder)}")
    if not frames:
        raise InputError(f"{folder} lists no frames.")
    scale = depth_scale or (TUM_DEPTH_SCALE if layout == "tum" else MILLIMETRES)
    return Recording(folder.resolve().name, tuple(frames), *cameras, depth_scale=scale)


def is_recording(folder: Path) -> bool:
    """Whether a folder, or a file, holds frames in a layout that is known."""
    return folder.suffix == SENS or _layout(folder) is not None


def _hint(folder: Path) -> str:
    """What a folder might be instead of a recording, as a further sentence, or nothing."""
    inner = [part for part in sorted(folder.iterdir()) if part.is_dir() and _layout(part)]
    if inner:
        return f" Is {inner[0]} meant?"
    if any(file.suffix.lower() in IMAGES for file in folder.iterdir()):
        return " Of images alone, geometry=VGGT() finds depth, cameras and poses."
    return ""


def _recordings(folder: Path) -> list[Path]:
    """The folder, where it holds frames, else its .sens files."""
    return [folder] if _layout(folder) else sorted(folder.glob(f"*{SENS}"))


def _with_cameras(folder: Path) -> Recording | None:
    """The recording of a layout whose frames bring a camera each along."""
    name, metric, scale = folder.resolve().name, True, MILLIMETRES
    model = find_model(folder)
    if (folder / FILE).is_file():
        frames, scale = read_nerfstudio(folder)
        metric = any(frame.depth is not None for frame in frames)
    elif is_record3d(folder):
        frames = read_record3d(folder)
    elif is_arkitscenes(folder):
        frames = read_arkitscenes(folder)
    elif model is not None:
        frames, metric = read_colmap(folder, model), False
    else:
        return None
    if not frames or frames[0].camera is None:
        raise InputError(f"{folder} lists no frames.")
    return Recording(name, tuple(frames), frames[0].camera, None, scale, metric)


def _given(
    recording: Recording, intrinsics: Intrinsics | None, depth_scale: float | None
) -> Recording:
    """The same with what the caller says instead.

    Raises InputError where no depth has steps that a scale could be of.
    """
    frames = recording.frames
    if depth_scale is not None and not any(isinstance(frame.depth, Path) for frame in frames):
        raise InputError(
            f"{recording.name} holds no 16-bit depth images, of which depth_scale={depth_scale:g} "
            "could be the steps a metre. Leave it out."
        )
    if intrinsics is not None:
        frames = tuple(replace(frame, camera=intrinsics, size=None) for frame in frames)
    return replace(recording, frames=frames, depth_scale=depth_scale or recording.depth_scale)


def _layout(folder: Path) -> str | None:
    if (folder / "rgb.txt").is_file() and (folder / "depth.txt").is_file():
        return "tum"
    if all((folder / part).is_dir() for part in ("color", "depth", "pose")):
        return "scannet"
    if next(folder.glob("*.pose.txt"), None):
        return "flat"
    own = (folder / FILE).is_file() or is_record3d(folder) or is_arkitscenes(folder)
    return "own" if own or find_model(folder) is not None else None


# --- 7-Scenes --------------------------------------------------------------------------------


def _flat_frames(folder: Path) -> list[FrameFiles]:
    """Of each name that an image or a pose has: where one lacks the other, the frame is bad."""
    names = {file.name.removesuffix(".pose.txt") for file in folder.glob("*.pose.txt")}
    names |= {file.name.rsplit(".color.", 1)[0] for file in folder.glob("*.color.*")}
    return [
        FrameFiles(
            f"{folder.name}/{name}",
            _image(folder, f"{name}.color"),
            folder / f"{name}.depth.png",
            folder / f"{name}.pose.txt",
        )
        for name in sorted(names)
    ]


def _flat_cameras(folder: Path, given: Intrinsics | None) -> Cameras:
    if given is not None:
        return given, None
    for name in ("intrinsics.txt", "camera-intrinsics.txt"):
        if (folder / name).is_file():
            return (_intrinsics(folder / name),) * 2
    raise InputError(
        f"{folder} has no intrinsics.txt, a 3x3 matrix. For 7-Scenes pass "
        "intrinsics=(585, 585, 320, 240); these are fx, fy, cx, cy in pixels."
    )


# --- ScanNet ---------------------------------------------------------------------------------


def _scannet_frames(folder: Path) -> list[FrameFiles]:
    names = {file.stem for file in (folder / "pose").glob("*.txt")}
    names |= {file.stem for file in (folder / "color").iterdir() if file.suffix in IMAGES}
    return [
        FrameFiles(
            f"{folder.name}/{name}",
            _image(folder / "color", name),
            folder / "depth" / f"{name}.png",
            folder / "pose" / f"{name}.txt",
        )
        for name in sorted(names, key=_number)
    ]


def _scannet_cameras(folder: Path, given: Intrinsics | None) -> Cameras:
    """The colour camera's and the depth camera's: their images differ in size."""
    if given is not None:
        return given, None
    files = [folder / "intrinsic" / f"intrinsic_{kind}.txt" for kind in ("color", "depth")]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"There is no {' and no '.join(missing)}, a 4x4 matrix. Export the intrinsics too, or "
            "pass intrinsics=(fx, fy, cx, cy) of the colour images, in pixels."
        )
    return _intrinsics(files[0]), _intrinsics(files[1])


def _number(name: str) -> tuple[int, str]:
    """10 comes after 9."""
    digits = re.search(r"\d+", name)
    return (int(digits[0]) if digits else -1, name)


# --- TUM RGB-D -------------------------------------------------------------------------------


def _tum_frames(folder: Path) -> list[FrameFiles]:
    """The images that have a depth image and a pose near them in time."""
    if not (folder / "groundtruth.txt").is_file():
        raise InputError(f"{folder} has no groundtruth.txt with poses: time, position, quaternion.")
    color_times, colors = _tum_table(folder / "rgb.txt", 1)
    depth_times, depths = _tum_table(folder / "depth.txt", 1)
    pose_times, poses = _tum_table(folder / "groundtruth.txt", 7)
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
                _tum_pose([float(value) for value in poses[pose]]),
            )
        )
    lack = f"a depth image or a pose within {TUM_APART * 1000:g} ms"
    tell_left_out(folder, left_out, len(colors), lack)
    return frames


def _tum_table(file: Path, columns: int) -> tuple[NDArray[np.float64], list[list[str]]]:
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
        int(at) if abs(others[at] - time) <= TUM_APART else -1
        for at, time in zip(nearest, times, strict=True)
    ]


def _tum_pose(values: list[float]) -> NDArray[np.float64]:
    """The 4×4 matrix of tx ty tz qx qy qz qw; NaN where the quaternion is zero."""
    return rigid(quaternion(values[3:]), values[:3])


def _tum_cameras(folder: Path, given: Intrinsics | None) -> Cameras:
    if given is not None:
        return given, None
    for name, camera in TUM_CAMERAS.items():
        if name in folder.resolve().name.lower():
            return camera, camera
    raise InputError(
        f"{folder} does not tell its camera, as names with {', '.join(TUM_CAMERAS)} do. Pass "
        "intrinsics=(fx, fy, cx, cy), in pixels; intrinsics=(525, 525, 319.5, 239.5) fits most "
        "Kinects."
    )


# --- all -------------------------------------------------------------------------------------


def _image(folder: Path, stem: str) -> Path:
    """The image of that name; where there is none, the first that it might have been."""
    files = [folder / f"{stem}{suffix}" for suffix in IMAGES]
    return next((file for file in files if file.is_file()), files[0])


def _intrinsics(file: Path) -> Intrinsics:
    matrix = read_matrix(file)
    if matrix.ndim != 2 or matrix.shape[0] < 3 or matrix.shape[1] < 3:
        raise InputError(f"{file} holds {matrix.shape} numbers; expected a 3x3 or 4x4 matrix.")
    try:
        return Intrinsics.from_matrix(matrix)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
