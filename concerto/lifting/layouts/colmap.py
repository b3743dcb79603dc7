"""COLMAP's reconstructions, text and binary, with the depth maps of its dense stereo.

The format: https://colmap.github.io/format.html. Scale is unknown. A folder is a workspace with
`images/` and a model in it, in `sparse/` or in `sparse/0/`; `colmap image_undistorter` and
`patch_match_stereo` make one with depth.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io.pictures import read_bytes
from concerto.lifting.conventions import (
    check_pinhole,
    first_pixel_at_half,
    inverse,
    quaternion,
    rigid,
)
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts.common import with_cameras
from concerto.lifting.recording import FrameFiles, Recording

PLACES = (".", "sparse", "sparse/0")
FIX = "Undistort with: colmap image_undistorter --image_path … --input_path … --output_path …"


class _Lens(NamedTuple):
    """A camera model: its name, its parameters, and whether it has one focal length."""

    name: str
    parameters: int
    one_focal: bool


# In the order of their numbers; of the lenses, the radial terms come after the principal point.
LENSES = (
    _Lens("SIMPLE_PINHOLE", 3, True),
    _Lens("PINHOLE", 4, False),
    _Lens("SIMPLE_RADIAL", 4, True),
    _Lens("RADIAL", 5, True),
    _Lens("OPENCV", 8, False),
)


def holds(folder: Path) -> bool:
    """Whether a folder holds a reconstruction, itself or in sparse/."""
    return _find_model(folder) is not None


def read(
    folder: Path, intrinsics: Intrinsics | None = None, depth_scale: float | None = None
) -> Recording:
    """The images that were registered, in the order of their names; their scale is unknown.

    Raises InputError where a file is cut short, or a camera is not (nearly) a pinhole.
    """
    model = _find_model(folder)
    frames = [] if model is None else _frames(folder, model)
    return with_cameras(folder, frames, intrinsics, depth_scale, metric=False)


def _find_model(folder: Path) -> Path | None:
    """Where a folder holds a reconstruction."""
    for place in PLACES:
        for suffix in (".bin", ".txt"):
            if all(
                (folder / place / f"{name}{suffix}").is_file() for name in ("cameras", "images")
            ):
                return folder / place
    return None


def _frames(folder: Path, model: Path) -> list[FrameFiles]:
    binary = (model / "cameras.bin").is_file()
    suffix = ".bin" if binary else ".txt"
    files = model / f"cameras{suffix}", model / f"images{suffix}"
    try:
        cameras = dict((_binary_cameras if binary else _text_cameras)(files[0]))
        images = list((_binary_images if binary else _text_images)(files[1]))
        listed = [
            _frame(folder, name, cameras[camera], pose)
            for name, camera, pose in sorted(images, key=lambda image: image[0])
        ]
    except (struct.error, ValueError, IndexError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{files[0].parent} is no reconstruction of COLMAP: {error}.") from error
    return listed


def read_depth_map(file: Path) -> NDArray[np.float32]:
    """A depth map of dense stereo as (h, w) float32, 0 where unknown.

    Raises InputError where the file is cut short.
    """
    content = read_bytes(file)
    try:
        width, height, channels, values = content.split(b"&", 3)
        shape = int(width), int(height), int(channels)
        stored = np.frombuffer(values, "<f4").reshape(shape, order="F")
    except ValueError as error:
        raise InputError(f"{file} is no depth map of COLMAP: {error}.") from error
    depth = stored[..., 0].T
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


Image = tuple[str, int, NDArray[np.float64]]
# A camera, and the height and width of the images that it is of.
Sized = tuple[Intrinsics, tuple[int, int]]


def _frame(folder: Path, name: str, camera: Sized, pose: NDArray[np.float64]) -> FrameFiles:
    depth = folder / "stereo" / "depth_maps" / f"{name}.geometric.bin"
    return FrameFiles(
        f"{folder.name}/{name}",
        folder / "images" / name,
        partial(read_depth_map, depth) if depth.is_file() else None,
        pose,
        camera=camera[0],
        size=camera[1],
    )


def _camera(lens: str, width: int, height: int, values: list[float]) -> Sized:
    known = next((known for known in LENSES if known.name == lens), None)
    if known is None:
        raise InputError(f"A camera is {lens}; expected one of {_names()}. {FIX}")
    values = values[: known.parameters]
    focal = values[:1] * 2 if known.one_focal else values[:2]
    rest = values[1 if known.one_focal else 2 :]
    camera = first_pixel_at_half(focal[0], focal[1], rest[0], rest[1])
    check_pinhole(lens, camera, (width, height), rest[2:4], FIX)
    return camera, (height, width)


def _pose(values: list[float]) -> NDArray[np.float64]:
    """From qw qx qy qz tx ty tz, world to camera."""
    w, x, y, z = values[:4]
    return inverse(rigid(quaternion([x, y, z, w]), values[4:7]))


def _text_cameras(file: Path) -> Iterator[tuple[int, Sized]]:
    for line in _lines(file):
        if line:
            number, lens, width, height, *values = line.split()
            numbers = [float(value) for value in values]
            yield int(number), _camera(lens, int(width), int(height), numbers)


def _text_images(file: Path) -> Iterator[Image]:
    """Every second line is of points, and may be empty."""
    for line in _lines(file)[::2]:
        if line:
            _, *values, camera, name = line.split(maxsplit=9)
            yield name, int(camera), _pose([float(value) for value in values])


def _lines(file: Path) -> list[str]:
    text = read_bytes(file).decode("utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if not line.startswith("#")]


def _binary_cameras(file: Path) -> Iterator[tuple[int, Sized]]:
    content = read_bytes(file)
    (count,), at = struct.unpack_from("<Q", content), 8
    for _ in range(count):
        number, lens, width, height = struct.unpack_from("<iiQQ", content, at)
        if not 0 <= lens < len(LENSES):
            raise InputError(f"A camera's lens has number {lens}; expected {_names()}. {FIX}")
        values = struct.unpack_from(f"<{LENSES[lens].parameters}d", content, at + 24)
        at += 24 + 8 * len(values)
        yield number, _camera(LENSES[lens].name, width, height, list(values))


def _binary_images(file: Path) -> Iterator[Image]:
    content = read_bytes(file)
    (count,), at = struct.unpack_from("<Q", content), 8
    for _ in range(count):
        _, *values, camera = struct.unpack_from("<i7di", content, at)
        end = content.index(b"\0", at + 64)
        name = content[at + 64 : end].decode("utf-8", errors="replace")
        (points,) = struct.unpack_from("<Q", content, end + 1)
        at = end + 9 + 24 * points
        yield name, camera, _pose(values)


def _names() -> str:
    return ", ".join(lens.name for lens in LENSES)
