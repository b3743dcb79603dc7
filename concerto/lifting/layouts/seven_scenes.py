"""7-Scenes and tsdf-fusion: `NAME.color.jpg`, `NAME.depth.png`, `NAME.pose.txt` side by side."""

from __future__ import annotations

from pathlib import Path

from concerto.errors import InputError
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
    """Whether poses lie in a folder, each by its frame's name."""
    return next(folder.glob("*.pose.txt"), None) is not None


def read(
    folder: Path, intrinsics: Intrinsics | None = None, depth_scale: float | None = None
) -> Recording:
    """The folder's frames. Raises InputError where it does not tell the intrinsics."""
    frames, cameras = _frames(folder), _cameras(folder, intrinsics)
    return of_one_camera(folder, frames, cameras, depth_scale or MILLIMETRES)


def _frames(folder: Path) -> list[FrameFiles]:
    """Of each name that an image or a pose has: where one lacks the other, the frame is bad."""
    names = {file.name.removesuffix(".pose.txt") for file in folder.glob("*.pose.txt")}
    names |= {file.name.rsplit(".color.", 1)[0] for file in folder.glob("*.color.*")}
    return [
        FrameFiles(
            f"{folder.name}/{name}",
            find_image(folder, f"{name}.color"),
            folder / f"{name}.depth.png",
            folder / f"{name}.pose.txt",
        )
        for name in sorted(names)
    ]


def _cameras(folder: Path, given: Intrinsics | None) -> Cameras:
    if given is not None:
        return given, None
    for name in ("intrinsics.txt", "camera-intrinsics.txt"):
        if (folder / name).is_file():
            return (read_intrinsics(folder / name),) * 2
    raise InputError(
        f"{folder} has no intrinsics.txt, a 3x3 matrix. For 7-Scenes pass "
        "intrinsics=(585, 585, 320, 240); these are fx, fy, cx, cy in pixels."
    )
