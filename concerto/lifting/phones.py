"""What phones with depth record through ARKit: Record3D's folders, and those of ARKitScenes.

Record3D's `.r3d` is a zip archive: unpacked, it holds `metadata` and `rgbd/`. ARKitScenes lays
images, depths and intrinsics in folders beside `lowres_wide.traj`, which belong together by time.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError, MissingExtraError
from concerto.io.pictures import read_bytes
from concerto.lifting.conventions import FROM_OPENGL, inverse, quaternion, rigid
from concerto.lifting.frame import Intrinsics
from concerto.lifting.recording import FrameFiles, read_matrix, read_table

# ARKit's confidence is 0, 1 or 2; what is low is mostly wrong, what is medium counts half.
CONFIDENCE = np.array([0, 0.5, 1], np.float32)
# Seconds by which an image and its pose may be apart; poses come ten times a second.
APART = 0.06


def is_record3d(folder: Path) -> bool:
    """Whether a folder is an unpacked .r3d."""
    return (folder / "metadata").is_file() and (folder / "rgbd").is_dir()


def is_arkitscenes(folder: Path) -> bool:
    """Whether a folder is a scene of ARKitScenes."""
    return (folder / "lowres_wide.traj").is_file()


def read_record3d(folder: Path) -> list[FrameFiles]:
    """The frames of an unpacked .r3d: poses with OpenGL's axes, depth in metres.

    Raises InputError where its metadata are not Record3D's.
    """
    file = folder / "metadata"
    try:
        values = json.loads(read_bytes(file))
        shared = np.array(values["K"], np.float64).reshape(3, 3).T
        own = values.get("perFrameIntrinsicCoeffs") or [None] * len(values["poses"])
        shape = int(values.get("dh", 256)), int(values.get("dw", 192))
        size = int(values["h"]), int(values["w"])
        poses = np.array(values["poses"], np.float64).reshape(-1, 7)
        cameras = [
            Intrinsics.from_matrix(shared) if each is None else Intrinsics(*map(float, each[:4]))
            for each in own
        ]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is not what Record3D writes: {error}.") from error
    return [
        FrameFiles(
            f"{folder.name}/{number}",
            folder / "rgbd" / f"{number}.jpg",
            partial(_read_depth, folder / "rgbd" / f"{number}.depth", shape),
            rigid(quaternion(list(pose[:4])), pose[4:]) @ FROM_OPENGL,
            camera=camera,
            confidence=_confidence(folder / "rgbd" / f"{number}.conf", shape),
            size=size,
        )
        for number, (pose, camera) in enumerate(zip(poses, cameras, strict=True))
    ]


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


def _confidence(file: Path, shape: tuple[int, int]) -> partial[NDArray[np.float32]] | None:
    return partial(_read_confidence, file, shape) if file.is_file() else None


def _read_confidence(file: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    levels: NDArray[np.float32] = CONFIDENCE[_values(file, shape, "u1").clip(max=2)]
    return levels


def _read_depth(file: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    depth = _values(file, shape, "<f4")
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def _values(file: Path, shape: tuple[int, int], dtype: str) -> NDArray[Any]:
    values = np.frombuffer(_unpacked(file), dtype)
    if values.size != shape[0] * shape[1]:
        raise InputError(f"{file} holds {values.size} values; expected {shape[1]} x {shape[0]}.")
    return values.reshape(shape)


def _unpacked(file: Path) -> bytes:
    try:
        import liblzfse
    except ImportError as error:
        raise MissingExtraError("Record3D's depth needs lzfse: pip install pyliblzfse.") from error
    try:
        content: bytes = liblzfse.decompress(read_bytes(file))
    except liblzfse.error as error:
        raise InputError(f"Cannot unpack {file}: {error}.") from error
    return content
