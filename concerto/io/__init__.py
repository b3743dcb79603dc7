"""Scans in files. One format a module; the suffix decides.

A module's `read` gives arrays coord, color, normal; what their numbers mean is decided here once,
by the rules of `concerto.points.convert`. It may raise whatever the parsers of this world raise at
damaged bytes: `read` below turns that into one InputError that names the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concerto.errors import ConcertoError, InputError
from concerto.folders import files_in
from concerto.io import las, lidar_bin, mesh, npy, npz, pcd, ply, text
from concerto.io.columns import Fields
from concerto.points.convert import as_tensor, checked_range, to_point_cloud
from concerto.points.point_cloud import PointCloud

Reader = Callable[..., Fields]  # (path: Path, **options)
# (path, cloud, features (N, C) floats or None, classes (N,) int64 or None)
Writer = Callable[[Path, PointCloud, np.ndarray | None, np.ndarray | None], None]

# Formats whose points may have any numbers beside them, each with a name.
WITH_SCALARS = (".ply", ".pcd", ".las", ".laz")
MESHES = (".obj", ".glb", ".gltf", ".stl", ".off")
FORMATS: dict[str, Reader] = {
    ".ply": ply.read,
    ".pcd": pcd.read,
    ".las": las.read,
    ".laz": las.read,
    ".npz": npz.read,
    ".npy": npy.read,
    ".xyz": text.read,
    ".txt": text.read,
    ".csv": text.read,
    ".bin": lidar_bin.read,
    **dict.fromkeys(MESHES, mesh.read),
}
WRITERS: dict[str, Writer] = {
    ".ply": ply.write,
    ".pcd": pcd.write,
    ".las": las.write,
    ".laz": las.write,
    ".npz": npz.write,
}
# What a folder of scans also holds as poses, labels or features is read only by its own name.
NOT_FROM_FOLDERS = (".txt", ".csv", ".npy")


def read(
    path: str | os.PathLike[str],
    *,
    color_range: tuple[float, float] | None = None,
    columns: int | None = None,
    points: int | None = None,
) -> PointCloud:
    """Read a scan: PLY, PCD, LAS, LAZ, NPZ, NPY, XYZ, TXT, CSV, BIN, OBJ, GLB, GLTF, STL or OFF.

    color_range: the values that mean black and white, where the file leaves a doubt; unsigned
    16-bit colours are 0-65535 where one exceeds 255, else 0-255.
    columns: float32 values a point in BIN: 4 as in KITTI, 5 as in nuScenes. Without it the size of
    the file tells, or the values where both fit.
    points: how many to sample of a mesh. Without it one per (0.01 unit)², from 10,000 to 1,000,000.

    Reflectance or intensity is never a colour. Coordinates may be NaN where the file has them so.

    Raises InputError where the file is missing, damaged, empty, or of another format.
    """
    file = Path(path)
    options = _options(file.suffix.lower(), columns, points)
    return _read(file, options, checked_range(color_range))[0]


def read_scalars(
    path: str | os.PathLike[str],
    names: Sequence[str],
    *,
    color_range: tuple[float, float] | None = None,
) -> tuple[PointCloud, dict[str, np.ndarray]]:
    """Read a scan as `read` does, and numbers beside its points, such as labels.

    path: PLY, PCD, LAS or LAZ. names: of fields, in any case; CloudCompare's "scalar_" may be left
    out. Each becomes an array (N,) in the file's dtype. color_range: as in `read`.

    Raises InputError also where there is no such field; it says which there are.
    """
    file = Path(path)
    if file.suffix.lower() not in WITH_SCALARS:
        raise InputError(f"{file} is none of {', '.join(WITH_SCALARS)}, whose fields have names.")
    return _read(file, {"scalars": tuple(names)}, checked_range(color_range))


def _read(
    file: Path, options: dict[str, Any], color_range: tuple[float, float] | None
) -> tuple[PointCloud, dict[str, np.ndarray]]:
    suffix = file.suffix.lower()
    if file.is_dir():
        raise InputError(f"Cannot read {file}: there is a folder of that name; pass its scans.")
    if not suffix and not file.exists():
        raise InputError(f"Cannot read {file}: there is no file of that name.")
    if suffix not in FORMATS:
        raise InputError(
            f"{file} has the suffix {file.suffix!r}; known formats are {', '.join(FORMATS)}."
        )
    if not file.is_file():
        raise InputError(f"Cannot read {file}: there is no file of that name.")
    try:
        return _cloud(FORMATS[suffix](file, **options), color_range)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except ConcertoError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise InputError(f"{file} cannot be read as {suffix[1:].upper()}: {reason}.") from error


def write(
    path: str | os.PathLike[str],
    cloud: PointCloud,
    *,
    features: Any = None,
    classes: Any = None,
) -> None:
    """Write a scan, whole or not at all: PLY, PCD, NPZ, LAS or LAZ.

    features: (N, C) floats; classes: (N,) integers: arrays or tensors that go with the points. They
    become feature_0, feature_1, … and class in PLY and PCD, arrays feat and class in NPZ, and extra
    dimensions and the classification (0-255) in LAS.

    Coordinates keep their dtype, but LAS keeps them to a ten-millionth of the extent. Colours take
    8 bits in PLY and PCD, 16 in LAS.

    Raises InputError where the points could not be read back, being none, or of other shapes than
    a `PointCloud` has, or where the format cannot hold what is given.
    """
    file = Path(path)
    # A PointCloud too, which checks nothing itself: what no model takes must not get into a file.
    cloud = to_point_cloud(cloud)
    if cloud.color is not None:
        # To rounding it may lie outside, which `read` would not take for 0-1.
        cloud = replace(cloud, color=cloud.color.clamp(0, 1))
    if file.suffix.lower() not in WRITERS:
        raise InputError(
            f"Cannot write {file}: its suffix is {file.suffix!r}, and scans are written as "
            f"{', '.join(WRITERS)}."
        )
    writer = WRITERS[file.suffix.lower()]
    writer(file, cloud, _features(features, len(cloud)), _classes(classes, len(cloud)))


def find_scans(path: str | os.PathLike[str]) -> list[Path]:
    """The scans of a folder and the folders in it, sorted; of a file, that file.

    Files named .txt, .csv or .npy are left out of folders, where they are mostly poses, labels and
    features; hidden files too.

    Raises InputError where there is none, or nothing of that name.
    """
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise InputError(f"There is no file or folder {root}.")
    suffixes = [suffix for suffix in FORMATS if suffix not in NOT_FROM_FOLDERS]
    found = files_in(root, suffixes)
    if not found:
        raise InputError(
            f"There is no scan in the folder {root}: no {', '.join(suffixes)}. Files named "
            f"{', '.join(NOT_FROM_FOLDERS)} are read only where they are named one by one."
        )
    return found


def _options(suffix: str, columns: int | None, points: int | None) -> dict[str, int]:
    """Those that are given. Raises InputError where the format has no such option."""
    options = {}
    for name, value, suffixes in (("columns", columns, (".bin",)), ("points", points, MESHES)):
        if value is None:
            continue
        if suffix not in suffixes:
            raise InputError(f"{name}= is for {', '.join(suffixes)}, not for {suffix}.")
        options[name] = value
    return options


def _cloud(
    fields: Fields, color_range: tuple[float, float] | None
) -> tuple[PointCloud, dict[str, np.ndarray]]:
    """The points, and what stands beside them."""
    scalars = {name: fields.pop(name) for name in fields.keys() - set(npz.ARRAYS)}
    coord, color = fields["coord"], fields.get("color")
    if coord.dtype.kind in "iu" and coord.dtype.itemsize <= 2:
        fields["coord"] = coord.astype(np.float32)  # exact, at half the memory of float64
    if color_range is None and color is not None and color.dtype.newbyteorder("=") == np.uint16:
        # Meant for 16 bits, and often filled with 8.
        color_range = (0, 65535 if len(color) and color.max() > 255 else 255)
    return to_point_cloud(fields, color_range), scalars


def _features(features: Any, count: int) -> np.ndarray | None:
    if features is None:
        return None
    array = _array(features, "features")
    if array.ndim != 2 or len(array) != count or array.dtype.kind != "f":
        raise InputError(
            f"features has shape {array.shape} and dtype {array.dtype}; it must be ({count}, C) "
            "floats, one row a point."
        )
    return array


def _classes(classes: Any, count: int) -> np.ndarray | None:
    if classes is None:
        return None
    array = _array(classes, "classes")
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise InputError(
            f"classes has shape {array.shape} and dtype {array.dtype}; it must be ({count},) "
            "integers, one a point."
        )
    return array.astype(np.int64)


def _array(values: Any, name: str) -> np.ndarray:
    tensor = as_tensor(values, name).detach().cpu()
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
