"""NumPy archives with arrays coord, color, normal, as `PointCloud` names them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from concerto.errors import InputError
from concerto.files import replacing
from concerto.io.columns import Fields
from concerto.io.limits import check_claim, check_expansion
from concerto.io.npy import array_bytes
from concerto.points.point_cloud import PointCloud

ARRAYS = ("coord", "color", "normal")


def read(path: Path) -> Fields:
    """coord (N, 3) and, where present, color and normal; other arrays are ignored."""
    with zipfile.ZipFile(path) as archive:
        members = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
        wanted = {name: members[name] for name in ARRAYS if name in members}
        if "coord" not in wanted:
            raise InputError(f"It has no array coord; it has {', '.join(members) or 'nothing'}.")
        check_expansion(sum(i.file_size for i in wanted.values()), path.stat().st_size)
        fields = {}
        for name, member in wanted.items():
            with archive.open(member) as file:
                check_claim(array_bytes(file), member.file_size)
            with archive.open(member) as file:
                fields[name] = np.lib.format.read_array(file, allow_pickle=False)
    return fields


def write(
    path: Path, cloud: PointCloud, features: np.ndarray | None, classes: np.ndarray | None
) -> None:
    """Write the arrays that the cloud has, and feat and class, compressed."""
    arrays = {
        name: getattr(cloud, name).detach().cpu().numpy()
        for name in ARRAYS
        if getattr(cloud, name) is not None
    }
    extra = {"feat": features, "class": classes}
    arrays |= {name: array for name, array in extra.items() if array is not None}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
