"""An image teacher that keeps on disk what it has computed, one file an image.

Files are written whole or not at all, so several processes may share a folder: at worst two compute
the same image. Nothing is ever deleted; a file takes 2 bytes a value, 4.2 MB for an image of
DINOv2 giant (37×37 patches, 1536 wide).
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from concerto.errors import ConcertoWarning, InputError
from concerto.files import check_writable, replacing
from concerto.training.images.teacher import ImageTeacher

# A zip archive with any byte changed or cut off gives one of these.
UNREADABLE = (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile)


class CachedTeacher(ImageTeacher):
    """A teacher that computes an image once, and reads its features afterwards.

    An image is known by its pixels to the last bit, so this serves only where images are not
    augmented: with random crops, blur or colours every image is new, and the disk fills. A teacher
    is known by its weights, structure and precision; changed code of a module of your own is not
    seen, so give it another folder.

    Features are rounded to float16 the first time too, so all epochs see the same. Those that
    float16 cannot hold are returned as they are and not kept. A damaged file is computed again,
    with a warning. A full disk ends the keeping, with a warning, and not the training.

    folder: made where it is missing; each teacher has its own folder inside. Raises InputError
    where it cannot be written.
    """

    def __init__(self, teacher: ImageTeacher, folder: str | os.PathLike[str]) -> None:
        check_writable(Path(folder))
        super().__init__(teacher.patch_size, teacher.width, teacher.image_size)
        self.teacher = teacher
        self.folder = Path(folder) / _identity(teacher)
        self.keeps = True

    def forward(self, images: Tensor) -> Tensor:
        """See `ImageTeacher.forward`."""
        rows, cols = self.grid(images)
        files = [self.folder / f"{digest[:2]}/{digest}.npz" for digest in _digests(images)]
        found = [_read(file, (rows * cols, self.width)) for file in files]
        missing = [i for i, features in enumerate(found) if features is None]
        if missing:
            for i, features in zip(missing, self.teacher(images[missing]), strict=True):
                found[i] = self._keep(files[i], features)
        kept = [features.to(images.device) for features in found if features is not None]
        return torch.stack(kept) if kept else self.teacher(images)

    def _keep(self, file: Path, features: Tensor) -> Tensor:
        """Write features (n, width), and return them as they will be read."""
        half = features.half()
        if not half.isfinite().all():
            return features
        if self.keeps:
            try:
                with replacing(file) as path:
                    np.savez(path, features=half.cpu().numpy())
            except InputError as error:
                self.keeps = False
                warnings.warn(
                    f"Image features are no longer kept: {error}", ConcertoWarning, stacklevel=2
                )
        return half.float()


def _read(file: Path, shape: tuple[int, int]) -> Tensor | None:
    """Features (n, width) float32 of a file, None where there is none or it is damaged."""
    try:
        # A zip archive, because that checks its sums: a flipped bit does not go unseen.
        with np.load(file) as content:
            features = content["features"]
        if features.shape != shape or features.dtype != np.float16:
            raise ValueError(f"it holds {features.dtype} of shape {features.shape}")
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        warnings.warn(
            f"{file} is damaged ({str(error) or type(error).__name__}); its image is computed "
            "again.",
            ConcertoWarning,
            stacklevel=2,
        )
        return None
    return torch.from_numpy(features).float()


def _digests(images: Tensor) -> list[str]:
    """A name for each image (3, H, W), by its shape and values in float32."""
    shape = repr(tuple(images.shape[1:])).encode()
    values = images.detach().float().cpu().contiguous().numpy()
    return [hashlib.sha256(shape + image.tobytes()).hexdigest() for image in values]


def _identity(teacher: ImageTeacher) -> str:
    """A name for what a teacher computes: its class, structure, weights and precision."""
    digest = hashlib.sha256(f"{type(teacher).__qualname__} {teacher.autocast} {teacher}".encode())
    for name, tensor in teacher.state_dict().items():
        values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()[:16]
