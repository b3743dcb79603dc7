"""A NumPy array (N, 3) of xyz, (N, 6) of xyz and rgb, or (N, 9) of xyz, rgb and normals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO

import numpy as np

from concerto.errors import InputError
from concerto.io.columns import Fields
from concerto.io.limits import check_claim


def read(path: Path) -> Fields:
    with path.open("rb") as file:
        check_claim(array_bytes(file), path.stat().st_size)
        file.seek(0)
        array = np.lib.format.read_array(file, allow_pickle=False)
    if array.dtype.kind not in "fiu":
        raise InputError(f"Its array has dtype {array.dtype}; it must hold real numbers.")
    if array.ndim != 2 or array.shape[1] not in (3, 6, 9):
        raise InputError(
            f"Its array has shape {array.shape}; it must be (N, 3) of xyz, (N, 6) of xyz and rgb, "
            "or (N, 9) of xyz, rgb and normals."
        )
    names = ("coord", "color", "normal")[: array.shape[1] // 3]
    return {name: array[:, 3 * i : 3 * i + 3] for i, name in enumerate(names)}


def array_bytes(file: IO[bytes]) -> int:
    """The bytes that an array claims in its header. Raises InputError where it holds objects."""
    version = np.lib.format.read_magic(file)
    read_header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise InputError(f"Its array has dtype {dtype}; it must hold real numbers.")
    if any(extent < 0 for extent in shape):
        raise InputError(f"Its array has shape {shape}.")
    return math.prod(shape) * dtype.itemsize
