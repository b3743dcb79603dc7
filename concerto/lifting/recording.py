"""A scene as it was recorded: files of posed frames, read one at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto.errors import ConcertoWarning, InputError
from concerto.io.pictures import decode_photo, read_bytes, read_depth
from concerto.lifting.frame import Frame, Intrinsics, Sizes, camera_of_depth, same_view
from concerto.lifting.parts import Part

ReadDepth = Callable[[], NDArray[np.float32]]


@dataclass(frozen=True)
class FrameFiles:
    """Where a frame lies: in files of its own, or within one.

    depth: a 16-bit image, what reads (h, w) float32 metres, or None where none was recorded. pose:
    a text file of a 4×4 matrix, camera to world, or that matrix. camera: of the image, where frames
    have each their own. confidence: what reads (h, w) float32. size: (height, width) of the images
    that camera was found for, where it is told; they may lie here reduced.
    """

    name: str
    color: Path | Part
    depth: Path | ReadDepth | None
    pose: Path | NDArray[np.float64]
    camera: Intrinsics | None = None
    confidence: ReadDepth | None = None
    size: tuple[int, int] | None = None

    def image(self) -> bytes:
        """The colour image as it is encoded. Raises InputError where it cannot be read."""
        return read_bytes(self.color) if isinstance(self.color, Path) else self.color.read()


@dataclass(frozen=True)
class Recording:
    """One scene's frames in the order in which they were taken.

    name: the folder's or the file's. camera, depth_camera: as in `Frame`; depth_camera is None
    where depth shows the image's view in a size of its own. depth_scale: stored steps a metre.
    metric: whether poses are in metres.
    """

    name: str
    frames: tuple[FrameFiles, ...]
    camera: Intrinsics
    depth_camera: Intrinsics | None
    depth_scale: float
    metric: bool = True
    _sizes: Sizes = field(default_factory=Sizes, init=False, compare=False, repr=False)

    def read(self, files: FrameFiles) -> Frame:
        """One of the frames. Raises InputError where it cannot be read or used."""
        place = files.color if isinstance(files.color, Path) else files.name
        color, depth = decode_photo(files.image(), str(place)), self._depth(files)
        camera = self.camera_of(files, color)
        depth_camera = None if files.camera else self.depth_camera
        frame = Frame(
            name=files.name,
            color=color,
            depth=depth,
            pose=self.pose(files),
            camera=camera,
            depth_camera=depth_camera
            or camera_of_depth(files.name, camera, color.shape, depth.shape),
            confidence=None if files.confidence is None else files.confidence(),
        )
        self._sizes.check(frame.name, frame.camera, frame.color)
        return frame

    def camera_of(self, files: FrameFiles, image: NDArray[np.uint8]) -> Intrinsics:
        """The camera of a frame's image (H, W, 3), in its pixels.

        Raises InputError where the image is no scaled copy of what the camera was found for.
        """
        camera, old, new = files.camera or self.camera, files.size, size_of(image)
        if old in (None, new):
            return camera
        if not same_view(old, new):
            raise InputError(
                f"{files.name}: the image is {new[1]} x {new[0]}, and its intrinsics are those of "
                f"{old[1]} x {old[0]}; expected this size, or a scaled copy. Pass intrinsics= of "
                "the images as they are now."
            )
        return camera.resized(old, new)

    def pose(self, files: FrameFiles) -> NDArray[np.float64]:
        """One frame's pose. Raises InputError where it cannot be read."""
        return read_matrix(files.pose) if isinstance(files.pose, Path) else files.pose

    def _depth(self, files: FrameFiles) -> NDArray[np.float32]:
        if files.depth is None:
            raise InputError(
                f"{files.name} was recorded without depth. A model can estimate it: pass "
                'geometry=DepthModel("depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf").'
            )
        if isinstance(files.depth, Path):
            return read_depth(files.depth, self.depth_scale)
        return files.depth()


def tell_left_out(folder: Path, left_out: list[str], total: int, lack: str) -> None:
    """Warn of images that are no frames, where all of a folder's are brought together by time.

    left_out: their names. total: of how many. lack: what is missing, for the message.
    """
    if left_out:
        # The same words from the same place: Python shows them once, however often it is opened.
        warnings.warn(
            f"{folder}: left out {len(left_out)} of {total} images, the first {left_out[0]}, for "
            f"lack of {lack}.",
            ConcertoWarning,
            stacklevel=1,
        )


def size_of(image: NDArray[Any]) -> tuple[int, int]:
    """Height and width of an image (H, W, …)."""
    return image.shape[0], image.shape[1]


def read_matrix(file: Path) -> NDArray[np.float64]:
    """A text file of numbers as a matrix. Raises InputError where it holds none."""
    rows = [row.split() for row in _lines(file)]
    try:
        return np.array(rows, np.float64)
    except ValueError as error:
        raise InputError(f"{file} is no matrix of numbers: {error}.") from error


def read_table(file: Path, columns: int) -> list[list[str]]:
    """The rows of a text file, split at spaces, comments (#) left out.

    Raises InputError where a row has fewer columns.
    """
    rows = [row.split() for row in _lines(file) if not row.startswith("#")]
    for row in rows:
        if len(row) < columns:
            raise InputError(f"{file}: expected {columns} columns, but a row is {' '.join(row)!r}.")
    return rows


def _lines(file: Path) -> list[str]:
    """The lines that are not empty."""
    text = read_bytes(file).decode("utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]
