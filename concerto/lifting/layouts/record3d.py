"""What phones with depth record through Record3D.

Its `.r3d` is a zip archive: unpacked, it holds `metadata` and `rgbd/`.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError, MissingExtraError
from concerto.io.pictures import read_bytes
from concerto.lifting.conventions import FROM_OPENGL, quaternion, rigid
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts.common import with_cameras
from concerto.lifting.recording import FrameFiles, Recording

# ARKit's confidence is 0, 1 or 2; what is low is mostly wrong, what is medium counts half.
CONFIDENCE = np.array([0, 0.5, 1], np.float32)


def holds(folder: Path) -> bool:
    """Whether a folder is an unpacked .r3d."""
    return (folder / "metadata").is_file() and (folder / "rgbd").is_dir()


def read(
    folder: Path, intrinsics: Intrinsics | None = None, depth_scale: float | None = None
) -> Recording:
    """The frames of an unpacked .r3d: poses with OpenGL's axes, depth in metres.

    Raises InputError where its metadata are not Record3D's.
    """
    return with_cameras(folder, _frames(folder), intrinsics, depth_scale)


def _frames(folder: Path) -> list[FrameFiles]:
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
        if len(cameras) != len(poses):
            raise InputError(
                f"{file} tells {len(cameras)} cameras (perFrameIntrinsicCoeffs) and {len(poses)} "
                "poses; expected one of each for every frame. Was the recording cut short?"
            )
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
