"""NumPy archives with arrays coord, color, normal, as `PointCloud` names them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from concerto.errors import InputError
from concerto.files import replacing
from concerto.points.convert import to_point_cloud
from concerto.points.point_cloud import PointCloud

ARRAYS = ("coord", "color", "normal")


def read(path: Path) -> PointCloud:
    """Read coord (N, 3) and, where present, color and normal; other arrays are ignored."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in ARRAYS if name in archive}
            names = ", ".join(archive.files) or "nothing"
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read as NPZ: {error}.") from error
    if "coord" not in found:
        raise InputError(f"{path} has no array coord; it has {names}.")
    try:
        return to_point_cloud(found)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write(path: Path, cloud: PointCloud) -> None:
    """Write the arrays that the cloud has, compressed."""
    arrays = {
        name: getattr(cloud, name).detach().cpu().numpy()
        for name in ARRAYS
        if getattr(cloud, name) is not None
    }
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)
