"""Folders of posed frames, as widespread data sets and tools lay them out: each in its module."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from concerto.arguments import positive
from concerto.errors import InputError
from concerto.io.pictures import IMAGES
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts import (
    arkitscenes,
    colmap,
    nerfstudio,
    record3d,
    scannet,
    sens,
    seven_scenes,
    tum,
)
from concerto.lifting.recording import Recording


class Layout(Protocol):
    """What a module of a layout has."""

    def holds(self, folder: Path, /) -> bool:
        """Whether a folder, or a file, is laid out so."""

    def read(
        self, folder: Path, /, intrinsics: Intrinsics | None, depth_scale: float | None
    ) -> Recording:
        """List the frames of what is laid out so, as `open_recording` does."""


# In the order in which they are tried: a tool that has placed a data set's images knows more.
LAYOUTS: tuple[Layout, ...] = (
    *(sens, nerfstudio, record3d, arkitscenes, colmap),
    *(tum, scannet, seven_scenes),
)
KNOWN = (
    "NAME.color.jpg + NAME.depth.png + NAME.pose.txt (7-Scenes), rgb.txt + depth.txt + "
    "groundtruth.txt (TUM RGB-D), NAME.sens (ScanNet), color/ + depth/ + pose/ (its exported "
    "frames), transforms.json (nerfstudio), cameras and images in sparse/ (COLMAP), metadata + "
    "rgbd/ (an unpacked .r3d of Record3D), or lowres_wide.traj (ARKitScenes)"
)


def find_recordings(folder: Path) -> list[Path]:
    """The folder itself where it holds frames, else those of its subfolders that do, sorted.

    Of a folder with .sens files, these are meant; one such file may also be given. Raises
    InputError where there are no frames.
    """
    if folder.is_file() and sens.holds(folder):
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
    layout = _layout(folder)
    if layout is not None:
        return layout.read(folder, intrinsics, depth_scale)
    if not folder.is_dir():
        raise InputError(
            f"{folder} is a file that is no recording; expected a folder, a video or a .sens."
            if folder.exists()
            else f"There is no folder {folder}."
        )
    raise InputError(f"{folder} does not hold frames laid out as {KNOWN}.{_hint(folder)}")


def is_recording(folder: Path) -> bool:
    """Whether a folder, or a file, holds frames in a layout that is known."""
    return _layout(folder) is not None


def _layout(folder: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.holds(folder)), None)


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
    return [folder] if _layout(folder) else sorted(folder.glob(f"*{sens.SUFFIX}"))
