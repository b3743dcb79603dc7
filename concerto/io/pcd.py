"""PCD, ascii, binary and binary_compressed, through pypcd4: x y z, rgb or rgba, normal_x y z."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from concerto.errors import InputError
from concerto.extras import import_extra
from concerto.files import replacing
from concerto.io.columns import Fields, color_bytes, take_columns, to_columns
from concerto.io.limits import check_claim, check_expansion
from concerto.points.point_cloud import PointCloud

COLUMNS = {"coord": ("x", "y", "z"), "normal": ("normal_x", "normal_y", "normal_z")}
HEADER_LINES = 10
# Lines that no header does without: the others have defaults.
NEEDED = ("FIELDS", "SIZE", "TYPE", "WIDTH", "POINTS", "DATA")
LONGEST_LINE = 2**20
# The longest descriptors have some hundreds of values a point; a header can claim billions.
MAX_FIELDS = 4096


def read(path: Path, scalars: Sequence[str] = ()) -> Fields:
    """Coordinates, packed or separate colours, normals, and the fields that `scalars` names."""
    pypcd4 = import_extra("pypcd4.pypcd4", "PCD files")
    with path.open("rb") as file:
        given = _header(file)
        lines = _completed(given)
        header = pypcd4.MetaData.parse_header(lines)
        begin = file.tell()
        _check_size(header, file, path.stat().st_size)
        if lines == given:
            cloud = pypcd4.PointCloud.from_path(path)
        else:
            file.seek(begin)
            whole = "\n".join([*lines, ""]).encode() + file.read()
            cloud = pypcd4.PointCloud.from_fileobj(BytesIO(whole))
    table = np.atleast_1d(cloud.pc_data)
    if len(table) != header.points:
        raise InputError(f"It claims {header.points:,} points and has {len(table):,}.")
    fields = take_columns(table, scalars)
    for name in ("rgb", "rgba"):
        if name in (table.dtype.names or ()):
            fields["color"] = _unpack(table[name])
    return fields


def write(
    path: Path, cloud: PointCloud, features: np.ndarray | None, classes: np.ndarray | None
) -> None:
    """Write binary PCD: coordinates in their dtype, colours packed into rgb as PCL has them."""
    pypcd4 = import_extra("pypcd4", "PCD")
    columns = to_columns(cloud, features, classes, COLUMNS)
    color = color_bytes(cloud)
    if color is not None:
        red, green, blue = color.astype(np.uint32).T
        columns["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)
    points = pypcd4.PointCloud.from_points(
        list(columns.values()), list(columns), [a.dtype for a in columns.values()]
    )
    with replacing(path) as temporary:
        points.save(temporary, pypcd4.Encoding.BINARY)


def _header(file: BinaryIO) -> list[str]:
    """The lines that say what the file claims. Leaves `file` where the points begin."""
    lines: list[str] = []
    while len(lines) < HEADER_LINES and (raw := file.readline(LONGEST_LINE)):
        line = raw.decode().strip()
        if line and not line.startswith("#"):
            lines.append(line)
        if line.startswith("DATA"):
            break
    return lines


def _completed(lines: list[str]) -> list[str]:
    """A header with what pypcd4 asks for and the format does not: COUNT, the size of version 0.5,
    and the latest version.

    Raises InputError where a line is missing that has no default.
    """
    values = {line.split()[0]: line.split()[1:] for line in lines}
    added = {}
    if "POINTS" in values and not values.keys() & {"WIDTH", "HEIGHT"}:
        added = {"WIDTH": values["POINTS"], "HEIGHT": ["1"]}
    missing = [name for name in NEEDED if name not in values.keys() | added.keys()]
    if missing:
        raise InputError(f"Its header has no {', '.join(missing)}.")
    if "COUNT" not in values:
        added["COUNT"] = ["1"] * len(values["FIELDS"])
    # Versions before 0.7 had fewer lines, and the same points.
    known = [re.sub(r"^VERSION\s+0?\.[56]$", "VERSION 0.7", line) for line in lines]
    return [*(" ".join([name, *value]) for name, value in added.items()), *known]


def _check_size(header: Any, file: BinaryIO, size: int) -> None:
    """Raises InputError where the points cannot be in the file."""
    fields = sum(header.count)
    if fields > MAX_FIELDS:
        raise InputError(f"It claims {fields:,} values a point; at most {MAX_FIELDS:,} are read.")
    row = sum(s * c for s, c in zip(header.size, header.count, strict=True))
    left = size - file.tell()
    if header.data.value == "ascii":
        check_claim(header.points * 2 * fields, left + 1)
    elif header.data.value == "binary":
        check_claim(header.points * row, left)
    elif header.points:
        compressed, uncompressed = struct.unpack("II", file.read(8))
        check_claim(compressed, left - 8)
        check_expansion(uncompressed, compressed)
        check_claim(header.points * row, uncompressed)


def _unpack(packed: np.ndarray) -> np.ndarray:
    """0xRRGGBB, as an integer or as the bits of a float32, to (N, 3) uint8."""
    if packed.dtype == np.float32 and not (packed >= 1).any():
        packed = np.ascontiguousarray(packed).view(np.uint32)
    packed = packed.astype(np.uint32)  # some write the integer itself as a number of TYPE F
    return np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=1).astype(np.uint8)
