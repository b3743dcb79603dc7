"""LAS and LAZ through laspy: coordinates in float64, colours, and extra dimensions as normals.

A few numbers of the header are held against the file before laspy or lazrs act on them: they
allocate, and loop over, what it claims.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from concerto.errors import InputError
from concerto.extras import import_extra
from concerto.files import replacing
from concerto.io.columns import Fields, find_scalar, find_triple
from concerto.io.laz_chunks import check_chunks
from concerto.io.limits import check_claim, check_expansion
from concerto.points.point_cloud import PointCloud

COLOR = ("red", "green", "blue")
NORMAL = ("nx", "ny", "nz")
WITHOUT_COLOR, WITH_COLOR = 6, 7  # point formats of LAS 1.4
HEADER_SIZE, VLR_SIZE = 227, 54
# What a record of 65,535 bytes, which describes them, has room for.
MAX_EXTRA_DIMENSIONS = 341


def read(path: Path, scalars: Sequence[str] = ()) -> Fields:
    """Coordinates; colours as stored, unless all are black; normals of extra dimensions.

    scalars: other dimensions to read, such as classification.
    """
    laspy = import_extra("laspy", "LAS and LAZ files")
    size = path.stat().st_size
    with path.open("rb") as file:
        _check_header(file, size)
        # One thread: the parallel one allocates what the table of chunks claims.
        reader = laspy.open(
            file, read_evlrs=False, closefd=False, laz_backend=laspy.LazBackend.Lazrs
        )
        _check_points(reader.header, file, size)
        points = _decode(reader)
    header = reader.header
    if len(points) != header.point_count:
        raise InputError(f"It claims {header.point_count:,} points and has {len(points):,}.")
    coord = np.empty((len(points), 3))
    for axis, name in enumerate("XYZ"):
        np.multiply(points[name], header.scales[axis], out=coord[:, axis])
        coord[:, axis] += header.offsets[axis]
    fields = {"coord": coord}
    names = list(header.point_format.dimension_names)
    for field in ("color", "normal"):
        places = find_triple(names, field)
        if places is not None:
            fields[field] = np.stack([points[names[i]] for i in places], axis=1)
    if "color" in fields and not fields["color"].any():
        del fields["color"]
    found = {name: names[find_scalar(names, name)] for name in scalars}
    return fields | {name: np.asarray(points[found[name]]) for name in scalars}


def write(
    path: Path, cloud: PointCloud, features: np.ndarray | None, classes: np.ndarray | None
) -> None:
    """Write LAS 1.4, or LAZ by the suffix; normals and features become float extra dimensions."""
    laspy = import_extra("laspy", "LAS and LAZ files")
    extra: dict[str, np.ndarray] = {}
    if cloud.normal is not None:
        extra |= dict(zip(NORMAL, cloud.normal.detach().cpu().numpy().T, strict=True))
    if features is not None:
        dtype = np.float64 if features.dtype.itemsize == 8 else np.float32
        extra |= {f"feature_{i}": column for i, column in enumerate(features.astype(dtype).T)}
    if len(extra) > MAX_EXTRA_DIMENSIONS:
        raise InputError(
            f"{path} can hold {MAX_EXTRA_DIMENSIONS} numbers beside a point, and normals and "
            f"features are {len(extra)}. Write PLY or NPZ, or fewer features."
        )
    if classes is not None and len(classes) and not 0 <= classes.min() <= classes.max() <= 255:
        raise InputError(
            f"classes lie in [{classes.min()}, {classes.max()}], and {path} holds 0 to 255. "
            "Write PLY or NPZ."
        )
    header = laspy.LasHeader(
        version="1.4", point_format=WITHOUT_COLOR if cloud.color is None else WITH_COLOR
    )
    integers, header.scales, header.offsets = _quantize(path, cloud.coord.detach().cpu().numpy())
    header.add_extra_dims([laspy.ExtraBytesParams(n, a.dtype) for n, a in extra.items()])
    las = laspy.LasData(header)
    las.X, las.Y, las.Z = integers.T
    if cloud.color is not None:
        las.red, las.green, las.blue = _color_words(cloud.color.detach().cpu().numpy()).T
    if classes is not None:
        las.classification = classes
    for name, column in extra.items():
        las[name] = column
    with replacing(path) as temporary:
        las.write(str(temporary), do_compress=path.suffix.lower() == ".laz")


def _quantize(path: Path, coord: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 3) int32, (3,) scales and (3,) offsets.

    The scale is a power of ten: a ten-millionth of the extent, or 1 mm where that is finer; more
    only where 31 bits do not span the extent.
    """
    if not np.isfinite(coord).all():
        raise InputError(f"{path} cannot hold coordinates that are NaN or infinite; drop them.")
    coord = coord.astype(np.float64)
    low = coord.min(0)
    with np.errstate(over="ignore"):
        extent = float((coord - low).max())
    if extent == np.inf:
        raise InputError(f"{path} cannot hold coordinates from {coord.min():g} to {coord.max():g}.")
    if extent < np.finfo(np.float64).tiny:
        extent = 1.0  # one place
    exponent = min(math.floor(math.log10(extent)) - 7, -3)
    exponent = max(exponent, math.ceil(math.log10(extent / np.iinfo(np.int32).max)))
    scale = 10.0**exponent
    integers = np.round((coord - low) / scale).astype(np.int32)
    return integers, np.full(3, scale), low


def _color_words(color: np.ndarray) -> np.ndarray:
    """(N, 3) uint16: 0-65535, or 0-255 where all is so dark that it would be read as that."""
    color = color.clip(0, 1)
    white = 65535 if len(color) and color.max() * 65535 > 255.5 else 255
    return (color * white).round().astype(np.uint16)


def _decode(reader: Any) -> Any:
    try:
        return reader.read_points(-1)
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # how Rust says that an index was wrong
            raise InputError(f"Its compressed points are damaged: {error}.") from error
        raise


def _check_header(file: BinaryIO, size: int) -> None:
    """Raises InputError where the records before the points cannot be in the file."""
    header = file.read(HEADER_SIZE)
    if len(header) == HEADER_SIZE:
        start, records = struct.unpack_from("<II", header, 96)
        check_claim(start, size)
        check_claim(records * VLR_SIZE, start)
    file.seek(0)


def _check_points(header: Any, file: BinaryIO, size: int) -> None:
    """Raises InputError where the points cannot be in the file."""
    start, point_size = header.offset_to_point_data, header.point_format.size
    claimed = header.point_count * point_size
    if not header.are_points_compressed:
        check_claim(claimed, size - start)
        return
    check_expansion(claimed, size - start)
    check_chunks(header, file, size)
    file.seek(start)
