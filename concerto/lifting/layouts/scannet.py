"""Frames exported from ScanNet: `color/0.jpg`, `depth/0.png`, `pose/0.txt`, and `intrinsic/`."""

from __future__ import annotations

import re
from pathlib import Path

from concerto.errors import InputError
from concerto.io.pictures import IMAGES
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts.common import (
    MILLIMETRES,
    Cameras,
    find_image,
    of_one_camera,
    read_intrinsics,
)
from concerto.lifting.recording import FrameFiles, Recording


def holds(folder: Path) -> bool:
    """Whether a folder holds images, depths and poses in a folder each."""
    return all((folder / part).is_dir() for part in ("color", "depth", "pose"))


def read(
    folder: Path, intrinsics: Intrinsics | None = None, depth_scale: float | None = None
) -> Recording:
    """The exported frames. Raises InputError where the intrinsics were not exported."""
    frames, cameras = _frames(folder), _cameras(folder, intrinsics)
    return of_one_camera(folder, frames, cameras, depth_scale or MILLIMETRES)


def _frames(folder: Path) -> list[FrameFiles]:
    names = {file.stem for file in (folder / "pose").glob("*.txt")}
    names |= {file.stem for file in (folder / "color").iterdir() if file.suffix in IMAGES}
    return [
        FrameFiles(
            f"{folder.name}/{name}",
            find_image(folder / "color", name),
            folder / "depth" / f"{name}.png",
            folder / "pose" / f"{name}.txt",
        )
        for name in sorted(names, key=_number)
    ]


def _cameras(folder: Path, given: Intrinsics | None) -> Cameras:
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
    return read_intrinsics(files[0]), read_intrinsics(files[1])


def _number(name: str) -> tuple[int, str]:
    """10 comes after 9."""
    digits = re.search(r"\d+", name)
    return (int(digits[0]) if digits else -1, name)
