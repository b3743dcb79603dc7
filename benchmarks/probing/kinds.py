"""The kinds of features that are compared, each a function of a scene: (N, C) float32 a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from concerto.hierarchy import Stages
from concerto.model import Concerto
from concerto.training.image_teacher import ImageTeacher
from concerto.training.pictures import cloud_of
from concerto.training.samples import Sample

Kind = Callable[[Sample], np.ndarray]
# Pixels of the longer side of images that the image encoder sees: those that rooms are rendered at.
IMAGE_SIDE = 320
# Pixels worked on at a time: 10 MB of features 624 wide.
CHUNK = 2**12


def raw_input(sample: Sample) -> np.ndarray:
    """What an encoder is given: coordinates from the centre of the scene and above its lowest
    point (metres), colour (0-1), normal."""
    low, high = sample.coord.min(0), sample.coord.max(0)
    origin = (low + high) / 2
    origin[2] = low[2]
    return np.hstack([sample.coord - origin, sample.color / np.float32(255), sample.normal])


def encoded(model: Concerto, stages: Stages = "all") -> Kind:
    """Features of an encoder; all stages, as published linear probes read them."""

    def kind(sample: Sample) -> np.ndarray:
        features = model.encode(cloud_of(sample), stages=stages)
        assert isinstance(features, torch.Tensor)
        return features.float().cpu().numpy()

    return kind


def lifted(teacher: ImageTeacher) -> Kind:
    """Features of images, at each point the mean over the images that see it, zero where none."""

    def kind(sample: Sample) -> np.ndarray:
        total = torch.zeros(len(sample.coord), teacher.width)
        count = torch.zeros(len(sample.coord), 1)
        for image, seen in zip(sample.images, sample.seen, strict=True):
            patches, size = _patches(teacher, image), image.shape[1::-1]
            for pixels in np.split(seen, range(CHUNK, len(seen), CHUNK)):
                point = torch.from_numpy(pixels[:, 2])
                total.index_add_(0, point, _at_pixels(patches, pixels[:, :2], size))
                count.index_add_(0, point, torch.ones(len(point), 1))
        return total.div_(count.clamp(min=1)).numpy()

    return kind


def once(kind: Kind) -> Kind:
    """The same, computed once for a scene that is asked for several times in a row."""
    last: list[tuple[Sample, np.ndarray]] = []

    def remembered(sample: Sample) -> np.ndarray:
        if not last or last[0][0] is not sample:
            last[:] = [(sample, kind(sample))]
        return last[0][1]

    return remembered


def together(kinds: Sequence[Kind]) -> Kind:
    """Several kinds side by side."""
    return lambda sample: np.hstack([kind(sample) for kind in kinds])


def _patches(teacher: ImageTeacher, image: np.ndarray) -> torch.Tensor:
    """Features (1, C, rows, columns) of the patches of an (H, W, 3) image."""
    height, width = image.shape[:2]
    patch = teacher.patch_size
    scale = IMAGE_SIDE / max(height, width)
    rows, cols = (max(1, round(side * scale / patch)) for side in (height, width))
    resized = Image.fromarray(image).resize((cols * patch, rows * patch), Image.Resampling.BILINEAR)
    pixel = torch.tensor(np.asarray(resized)).permute(2, 0, 1).float() / 255
    return teacher(pixel[None])[0].view(1, rows, cols, -1).permute(0, 3, 1, 2)


def _at_pixels(patches: torch.Tensor, pixels: np.ndarray, size: tuple[int, ...]) -> torch.Tensor:
    """Features (m, C) at pixels (m, 2) x, y of an image of a size (W, H), between patches
    bilinear."""
    place = torch.from_numpy((pixels + 0.5) / size * 2 - 1).float()
    found = F.grid_sample(patches, place[None, None], padding_mode="border", align_corners=False)
    return found[0, :, 0].T.contiguous()
