"""Photographs and depth images, decoded with pillow."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from concerto.errors import InputError
from concerto.io.limits import MOST_PIXELS

Decoded = TypeVar("Decoded")
IMAGES = (".jpg", ".jpeg", ".png")
# Of 16-bit depth: next to 0, what some cameras store where nothing was measured.
UNKNOWN_DEPTH = 65535


def decode_photo(content: bytes, name: str) -> NDArray[np.uint8]:
    """An encoded image as (H, W, 3) uint8 RGB. name: for messages.

    Raises InputError where it cannot be decoded.
    """
    return _decode(content, name, lambda image: np.array(image.convert("RGB")))


def read_photo(file: Path, upright: bool = False) -> NDArray[np.uint8]:
    """A file's image as (H, W, 3) uint8 RGB, its pixels as they are stored.

    upright: as viewers show it, which is by its EXIF orientation. Cameras that other tools found
    are of the stored pixels.

    Raises InputError where it cannot be read.
    """
    if not upright:
        return decode_photo(read_bytes(file), str(file))
    return _decode(
        read_bytes(file),
        str(file),
        lambda image: np.array(ImageOps.exif_transpose(image).convert("RGB")),
    )


def decode_depth(content: bytes, name: str, steps_per_metre: float) -> NDArray[np.float32]:
    """A one-channel image of depths as (h, w) float32 metres, 0 where nothing was measured.

    name: for messages. steps_per_metre: what a metre is stored as.

    Raises InputError where it cannot be decoded, or is a picture of several channels.
    """
    stored = _decode(content, name, np.array)
    if stored.ndim != 2 or stored.dtype == np.uint8:
        kind = f"{stored.shape[2]} channels" if stored.ndim == 3 else "8 bits a pixel"
        raise InputError(f"{name} has {kind}; a depth image has one channel of 16 bits.")
    return to_metres(stored, steps_per_metre)


def read_depth(file: Path, steps_per_metre: float) -> NDArray[np.float32]:
    """A file's image as `decode_depth` gives it. Raises InputError where it cannot be read."""
    return decode_depth(read_bytes(file), str(file), steps_per_metre)


def to_metres(stored: NDArray[Any], steps_per_metre: float) -> NDArray[np.float32]:
    """Depths stored as whole steps (h, w) as float32 metres, 0 where nothing was measured."""
    known = np.where(stored == UNKNOWN_DEPTH, 0, stored)
    return np.asarray(known.astype(np.float32) / np.float32(steps_per_metre))


def decode_labels(content: bytes, name: str) -> NDArray[np.uint8]:
    """A one-channel image of 8-bit labels as (h, w); of a palette, its indices. name: for messages.

    Raises InputError where it cannot be decoded, or is of another kind.
    """
    labels = _decode(content, name, np.array)
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise InputError(
            f"{name} is {labels.dtype} of shape {labels.shape}; an image of labels has one channel "
            "of 8 bits."
        )
    return labels


def read_bytes(file: Path) -> bytes:
    """A file's content. Raises InputError where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error


def _decode(content: bytes, name: str, convert: Callable[[Image.Image], Decoded]) -> Decoded:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InputError(
                    f"{name} has {image.width} x {image.height} pixels; at most {MOST_PIXELS:,} "
                    "are read."
                )
            return convert(image)
    except InputError:
        raise
    except Exception as error:  # pillow raises much, and names nothing
        reason = str(error).replace("<_io.BytesIO object", "").split(" at 0x")[0]
        reason = reason.strip(" '.") or repr(error)
        raise InputError(f"Cannot decode the image {name}: {reason}.") from error
