"""Scans in files. One format a module; the suffix decides."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from concerto.errors import InputError
from concerto.io import npz, ply
from concerto.points.point_cloud import PointCloud


class Format(Protocol):
    """What a module of this package offers."""

    def read(self, path: Path) -> PointCloud: ...
    def write(self, path: Path, cloud: PointCloud) -> None: ...


FORMATS: dict[str, Format] = {".ply": ply, ".npz": npz}


def read(path: str | os.PathLike[str]) -> PointCloud:
    """Read a scan: PLY or NPZ.

    Raises InputError where the file is missing, damaged, empty, or of another format.
    """
    file = Path(path)
    module = _format(file)
    if not file.is_file():
        what = "a folder" if file.is_dir() else "no file"
        raise InputError(f"Cannot read {file}: there is {what} of that name.")
    return module.read(file)


def write(path: str | os.PathLike[str], cloud: PointCloud) -> None:
    """Write a scan with its colours and normals, whole or not at all: PLY or NPZ.

    Colours are stored in 8 bits in PLY, as they are in NPZ.
    """
    file = Path(path)
    _format(file).write(file, cloud)


def _format(file: Path) -> Format:
    module = FORMATS.get(file.suffix.lower())
    if module is None:
        raise InputError(
            f"{file} has the suffix {file.suffix!r}; known formats are {', '.join(FORMATS)}."
        )
    return module
