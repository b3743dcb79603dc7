"""VGGT (arXiv 2503.11651) as geometry: depths, cameras and poses of plain images, scale unknown.

Its package is installed from its authors' repository; weights come from the Hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from concerto.devices import usable_device
from concerto.errors import InputError, MissingExtraError
from concerto.lifting.conventions import inverse, rigid
from concerto.lifting.frame import Intrinsics
from concerto.lifting.geometry import Images, Poses, Views

WEIGHTS = "facebook/VGGT-1B"
# What it was trained on: images 518 wide, sides multiples of a patch.
WIDTH, PATCH = 518, 14
# Its confidence is 1 + exp(.): of each video the least sure share is not used.
LEAST_SURE = 0.25


class VGGT:
    """A `Geometry` that needs images alone; of what is known already it makes no use.

    weights: a Hub repo or folder. device: the CPU unless said. Raises MissingExtraError where VGGT
    is not installed.
    """

    def __init__(self, weights: str = WEIGHTS, device: torch.device | str | None = None) -> None:
        self._device = usable_device(device)
        self._model = _import("vggt.models.vggt").VGGT.from_pretrained(weights)
        self._model = self._model.to(self._device).eval()

    def __call__(
        self, images: Images, intrinsics: Sequence[Intrinsics] | None, poses: Poses | None
    ) -> Views:
        """All images in one pass: memory grows with their number."""
        pixels = torch.stack([_resized(image, images[0].shape) for image in images])
        with torch.no_grad():
            found = self._model(pixels.to(self._device))
        decode = _import("vggt.utils.pose_enc").pose_encoding_to_extri_intri
        size = (pixels.shape[2], pixels.shape[3])
        extrinsic, camera = decode(found["pose_enc"], size)
        depth, sure = _array(found["depth"])[..., 0], _array(found["depth_conf"])
        sure = np.where(sure >= np.quantile(sure, LEAST_SURE), sure, 0).astype(np.float32)
        rows = _own_rows(images[0].shape, depth.shape[1:])
        return Views(
            depths=list(depth[:, rows]),
            intrinsics=[
                Intrinsics.from_matrix(matrix).resized(size, (image.shape[0], image.shape[1]))
                for matrix, image in zip(_array(camera), images, strict=True)
            ],
            poses=[_camera_to_world(matrix) for matrix in _array(extrinsic)],
            confidences=list(sure[:, rows]),
            metric=False,
        )


def _resized(image: NDArray[np.uint8], first: tuple[int, ...]) -> Tensor:
    """(3, h, w) in 0-1, WIDTH wide; the sides' ratio is kept up to a patch."""
    if image.shape != first:
        raise InputError(
            f"Images of {image.shape[1]} x {image.shape[0]} and {first[1]} x {first[0]}: VGGT "
            "takes images of one size."
        )
    height = max(PATCH, round(image.shape[0] / image.shape[1] * WIDTH / PATCH) * PATCH)
    small = Image.fromarray(image).resize((WIDTH, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def _own_rows(image: tuple[int, ...], found: tuple[int, ...]) -> NDArray[np.int64]:
    """The row of what was found (h, w) that is nearest to each of one in the image's own ratio."""
    height = max(1, round(image[0] / image[1] * found[1]))
    return ((np.arange(height) + 0.5) * found[0] / height).astype(np.int64)


def _camera_to_world(extrinsic: NDArray[np.float32]) -> NDArray[np.float64]:
    """From (3, 4) world to camera."""
    return inverse(rigid(extrinsic[:, :3].astype(np.float64), list(extrinsic[:, 3])))


def _array(batch: Tensor) -> NDArray[np.float32]:
    """The one video of a batch of videos."""
    values: NDArray[np.float32] = batch[0].float().cpu().numpy()
    return values


def _import(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            "VGGT is not installed: pip install git+https://github.com/facebookresearch/vggt, or "
            "pass depths and poses."
        ) from error
