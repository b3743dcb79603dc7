"""ScanNet's `.sens`: one file with all frames of a recording, each with its pose.

Only the places of the images are listed here, so that a file of many gigabytes takes no more
memory than one frame. The format is that of version 4, all numbers little-endian:
https://github.com/ScanNet/ScanNet/tree/master/SensReader
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.frame import Intrinsics
from concerto.lifting.parts import Part, RawDepth
from concerto.lifting.recording import FrameFiles, Recording

SUFFIX = ".sens"
VERSION = 4
# What the header's numbers mean: of colour PNG and JPEG, of depth plain 16-bit numbers and zlib.
COLOR_ENCODED = (1, 2)
DEPTH_RAW, DEPTH_ZLIB = 0, 1
LONGEST_NAME = 2**12
MATRIX = struct.Struct("<16f")
# Compression of colour and depth, width and height of both, steps of depth a metre, frames.
LAYOUT = struct.Struct("<iiIIIIfQ")
# The pose, the times of both images, and their sizes in bytes.
FRAME = struct.Struct("<16f4Q")


def holds(file: Path) -> bool:
    """Whether a path is named as such a file, and no folder is."""
    return file.suffix == SUFFIX and not file.is_dir()


def read(
    file: Path, intrinsics: Intrinsics | None = None, depth_scale: float | None = None
) -> Recording:
    """List the frames of a file; the images are read later, one at a time.

    intrinsics, depth_scale: instead of what the file tells; intrinsics are of the colour images,
    and scaled to the depth's size.

    Raises InputError where the file cannot be read, is of another version, is cut short, holds no
    frames, or compresses its images in a way that is not known.
    """
    try:
        with file.open("rb") as stream:
            header = _header(stream, file)
            scale = depth_scale or header.depth_scale
            frames = tuple(_frames(stream, file, header, scale))
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error
    if not frames:
        raise InputError(f"{file} lists no frames.")
    own = header.depth_camera if intrinsics is None else None
    return Recording(file.stem, frames, intrinsics or header.camera, own, depth_scale=scale)


class _Header(NamedTuple):
    """What holds for all frames. depth_shape: (h, w)."""

    camera: Intrinsics
    depth_camera: Intrinsics
    depth_packed: bool
    depth_shape: tuple[int, int]
    depth_scale: float
    frames: int


def _header(stream: BinaryIO, file: Path) -> _Header:
    (version,) = struct.unpack("<I", _take(stream, file, 4))
    if version != VERSION:
        raise InputError(f"{file} is of version {version}, or no .sens; version {VERSION} is read.")
    (length,) = struct.unpack("<Q", _take(stream, file, 8))
    if length > LONGEST_NAME:
        raise InputError(f"{file} is damaged: its sensor's name has {length:,} letters.")
    _take(stream, file, length)
    # Both extrinsic matrices are left out: the images are registered, and they are the identity.
    color, _, depth, _ = (_matrix(_take(stream, file, MATRIX.size)) for _ in range(4))
    color_kind, depth_kind, _, _, width, height, scale, frames = LAYOUT.unpack(
        _take(stream, file, LAYOUT.size)
    )
    if color_kind not in COLOR_ENCODED or depth_kind not in (DEPTH_RAW, DEPTH_ZLIB):
        raise InputError(
            f"{file} compresses colour by method {color_kind} and depth by {depth_kind}; JPEG (2) "
            "or PNG (1), and zlib (1) or none (0), are read."
        )
    if not scale > 0:
        raise InputError(f"{file} is damaged: it has {scale:g} steps of depth a metre.")
    return _Header(
        camera=Intrinsics.from_matrix(color),
        depth_camera=Intrinsics.from_matrix(depth),
        depth_packed=depth_kind == DEPTH_ZLIB,
        depth_shape=(height, width),
        depth_scale=scale,
        frames=frames,
    )


def _frames(
    stream: BinaryIO, file: Path, header: _Header, depth_scale: float
) -> Iterator[FrameFiles]:
    """The frames behind the header, without reading their images."""
    size = file.stat().st_size
    for number in range(header.frames):
        values = FRAME.unpack(_take(stream, file, FRAME.size))
        color_size, depth_size = values[-2:]
        start = stream.tell()
        if start + color_size + depth_size > size:
            raise InputError(
                f"{file} is cut short: its frame {number} of {header.frames} is not all there. "
                "Download it again."
            )
        name = f"{file.stem}/{number}"
        part = Part(file, start + color_size, depth_size)
        depth = RawDepth(part, header.depth_shape, header.depth_packed)
        yield FrameFiles(
            name=name,
            color=Part(file, start, color_size),
            depth=partial(depth.read, name, depth_scale),
            pose=np.array(values[:16], np.float64).reshape(4, 4),
        )
        stream.seek(start + color_size + depth_size)


def _matrix(content: bytes) -> NDArray[np.float64]:
    return np.array(MATRIX.unpack(content), np.float64).reshape(4, 4)


def _take(stream: BinaryIO, file: Path, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise InputError(f"{file} is cut short after {stream.tell():,} bytes. Download it again.")
    return content
