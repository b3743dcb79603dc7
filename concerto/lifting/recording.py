"""A scene as it was recorded: files of posed frames, read one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io.pictures import decode_photo, read_bytes, read_depth
from concerto.lifting.frame import Frame, Intrinsics
from concerto.lifting.parts import Part

ReadDepth = Callable[[], NDArray[np.float32]]


@dataclass(frozen=True)
class FrameFiles:
    """Where a frame lies: in files of its own, or within one.

    depth: a 16-bit image, or what reads (h, w) float32 metres. pose: a text file of a 4×4 matrix,
    camera to world, or that matrix.
    """

    name: str
    color: Path | Part
    depth: Path | ReadDepth
    pose: Path | NDArray[np.float64]

    def image(self) -> bytes:
        """The colour image as it is encoded. Raises InputError where it cannot be read."""
        return read_bytes(self.color) if isinstance(self.color, Path) else self.color.read()


@dataclass(frozen=True)
class Recording:
    """One scene's frames in the order in which they were taken.

    name: the folder's or the file's. camera, depth_camera: as in `Frame`. depth_scale:
    stored steps a metre.
    """

    name: str
    frames: tuple[FrameFiles, ...]
    camera: Intrinsics
    depth_camera: Intrinsics
    depth_scale: float

    def read(self, files: FrameFiles) -> Frame:
        """One of the frames. Raises InputError where it cannot be read or used."""
        pose = read_matrix(files.pose) if isinstance(files.pose, Path) else files.pose
        if isinstance(files.depth, Path):
            depth = read_depth(files.depth, self.depth_scale)
        else:
            depth = files.depth()
        color = files.color if isinstance(files.color, Path) else files.name
        return Frame(
            name=files.name,
            color=decode_photo(files.image(), str(color)),
            depth=depth,
            pose=pose,
            camera=self.camera,
            depth_camera=self.depth_camera,
        )


def read_matrix(file: Path) -> NDArray[np.float64]:
    """A text file of numbers as a matrix. Raises InputError where it holds none."""
    try:
        return np.array([row.split() for row in _lines(file)], np.float64)
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
