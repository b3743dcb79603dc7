"""Files of features: how they are written, and told from other files that end alike."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from torch import Tensor

from concerto.files import replacing
from concerto.points.point_cloud import PointCloud

SUFFIXES = (".npz", ".npy", ".safetensors")


def write_features(target: Path, cloud: PointCloud, features: Tensor) -> None:
    """Write features (N, C), and in .npz and .safetensors the coordinates (N, 3) of their points.

    Raises InputError where the place cannot be written.
    """
    with replacing(target) as path:
        if target.suffix == ".npy":
            np.save(path, features.numpy())
        elif target.suffix == ".npz":
            np.savez(path, coord=cloud.coord.numpy(), feat=features.numpy())
        else:
            from safetensors.torch import save_file

            save_file({"coord": cloud.coord.contiguous(), "feat": features.contiguous()}, path)


def holds_features(file: Path) -> bool:
    """Whether a file is of the kind that `write_features` leaves, by what it says of its arrays.

    An .npy file has no names in it: any table of float16 or float32 may be features.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".npz":
            with zipfile.ZipFile(file) as archive:
                return set(archive.namelist()) == {"coord.npy", "feat.npy"}
        if file.suffix == ".npy":
            values = np.lib.format.open_memmap(file, mode="r")
            return values.ndim == 2 and values.dtype in (np.float16, np.float32)
        if file.suffix == ".safetensors":
            with safe_open(file, "numpy") as tensors:
                return set(tensors.keys()) == {"coord", "feat"}
    except (OSError, ValueError, zipfile.BadZipFile, SafetensorError):
        return False
    return False
