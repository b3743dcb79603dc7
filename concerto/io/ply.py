"""PLY, ascii and both binaries: x y z, red green blue, nx ny nz of element vertex.

Of 3D Gaussian splats (arXiv 2308.04079) the centres are the points, and their colours are what the
harmonics are from all sides.

plyfile knows the header, and writes. The rows are read here, those of the vertices only and in one
piece, so that a large mesh costs neither time nor memory for its faces.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from plyfile import PlyData, PlyElement, PlyListProperty

from concerto.errors import InputError
from concerto.files import replacing
from concerto.io.columns import (
    Fields,
    color_bytes,
    find_columns,
    find_scalar,
    find_triple,
    take_columns,
    to_columns,
)
from concerto.io.limits import check_claim
from concerto.points.point_cloud import PointCloud

COLUMNS = {"coord": ("x", "y", "z"), "normal": ("nx", "ny", "nz")}
COLOR = ("red", "green", "blue")
LONGEST_HEADER = 2**20
# The constant term of a splat's colour, and the harmonic of degree 0 that it is the factor of.
HARMONICS = ("f_dc_0", "f_dc_1", "f_dc_2")
CONSTANT = 0.5 / math.sqrt(math.pi)


def read(path: Path, scalars: Sequence[str] = ()) -> Fields:
    """The vertices, with the properties that `scalars` names; others, and faces, are ignored."""
    with path.open("rb") as file:
        header, counts = _header(file)
        left = path.stat().st_size - file.tell()
        for element, count in zip(header, counts, strict=True):
            is_vertex = element.name == "vertex"
            if any(isinstance(p, PlyListProperty) for p in element.properties) and (
                is_vertex or not header.text
            ):
                raise InputError(
                    f"Element {element.name} has lists, and they stand before the end of the "
                    "points. Write the vertices first, without lists."
                )
            # In text, a value takes a digit and a space or line end; the last may lack it.
            itemsize = element.dtype().itemsize
            size = count * (2 * len(element.properties) if header.text else itemsize)
            check_claim(size, left + header.text)
            if is_vertex:
                if not count:
                    raise InputError("There are no points in it.")
                rows = _text_rows if header.text else _binary_rows
                splats = HARMONICS if _are_splats(element) else ()
                fields = rows(file, element, count, header.byte_order, (*scalars, *splats))
                return _seen_from_all_sides(fields, scalars) if splats else fields
            if header.text:
                for _ in itertools.islice(file, count):
                    pass
            else:
                file.seek(size, io.SEEK_CUR)
            left = path.stat().st_size - file.tell()
    raise InputError("It has no element vertex with points.")


def write(
    path: Path, cloud: PointCloud, features: np.ndarray | None, classes: np.ndarray | None
) -> None:
    """Write binary PLY: coordinates and normals in their dtype, colours in 8 bits."""
    columns = to_columns(cloud, features, classes, COLUMNS)
    color = color_bytes(cloud)
    if color is not None:
        columns |= dict(zip(COLOR, color.T, strict=True))
    vertex = np.empty(len(cloud), dtype=[(name, a.dtype) for name, a in columns.items()])
    for name, array in columns.items():
        vertex[name] = array
    with replacing(path) as temporary:
        PlyData([PlyElement.describe(vertex, "vertex")], byte_order="<").write(temporary)


def _header(file: BinaryIO) -> tuple[PlyData, list[int]]:
    """The elements, without their rows, and how many rows each claims. Leaves `file` behind it."""
    lines, counts = [], []
    for line in iter(lambda: file.readline(LONGEST_HEADER), b""):
        word, *rest = line.split() or [b""]
        if word == b"element" and len(rest) == 2:
            counts.append(int(rest[1]))
            line = b"0".join(line.rsplit(rest[1], 1))
        lines.append(line)
        if word == b"end_header" or file.tell() > LONGEST_HEADER:
            break
    return PlyData.read(io.BytesIO(b"".join(lines))), counts


def _are_splats(element: PlyElement) -> bool:
    names = [p.name for p in element.properties]
    return set(HARMONICS) <= set(names) and find_triple(names, "color") is None


def _seen_from_all_sides(fields: Fields, scalars: Sequence[str]) -> Fields:
    """Points of splats: colours 0-1 of their harmonics, and normals only where they have any."""
    color = np.stack([fields[name] for name in HARMONICS], axis=1).astype(np.float32)
    unwanted = {*HARMONICS} - {*scalars}
    if "normal" in fields and not fields["normal"].any():
        unwanted.add("normal")
    left = {name: values for name, values in fields.items() if name not in unwanted}
    return left | {"color": (0.5 + CONSTANT * color).clip(0, 1)}


def _binary_rows(
    file: BinaryIO, element: PlyElement, count: int, byte_order: str, scalars: Sequence[str]
) -> Fields:
    return take_columns(np.fromfile(file, element.dtype(byte_order), count), scalars)


def _text_rows(
    file: BinaryIO, element: PlyElement, count: int, _: str, scalars: Sequence[str]
) -> Fields:
    """All as float64, which holds every type of a property; then colours as they are declared."""
    names = [p.name for p in element.properties]
    places = find_columns(names) | {name: [find_scalar(names, name)] for name in scalars}
    lines = itertools.islice(file, count)
    wanted = list(itertools.chain(*places.values()))
    values = np.loadtxt(lines, usecols=wanted, ndmin=2, comments=None)
    if len(values) != count:
        raise InputError(f"It claims {count:,} vertices and has {len(values):,}.")
    fields, start = {}, 0
    for field, columns in places.items():
        dtype = np.result_type(*(element.dtype()[names[i]] for i in columns))
        fields[field] = values[:, start : start + len(columns)].astype(dtype)
        start += len(columns)
    return fields | {name: fields[name][:, 0] for name in scalars}
