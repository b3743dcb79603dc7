"""The kinds of features that are compared, each a function of a scene and some of its points.

rows: (n,) the points, each once. What comes back is (n, C) float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from concerto.hierarchy import Stages
from concerto.model import Concerto
from concerto.training.images.teacher import ImageTeacher
from concerto.training.scenes.samples import Sample

Kind = Callable[[Sample, np.ndarray], np.ndarray]
# Pixels of the longer side of images that the image encoder sees: those that rooms are rendered at.
IMAGE_SIDE = 320
# Pixels worked on at a time: 10 MB of features 624 wide.
CHUNK = 2**12


def raw_input(sample: Sample, rows: np.ndarray) -> np.ndarray:
    """What an encoder is given: coordinates from the centre of the scene and above its lowest
    point (metres), colour (0-1), normal."""
    low, high = sample.coord.min(0), sample.coord.max(0)
    origin = (low + high) / 2
    origin[2] = low[2]
    color = sample.color[rows] / np.float32(255)
    return np.hstack([sample.coord[rows] - origin, color, sample.normal[rows]])


def encoded(model: Concerto, stages: Stages = "all") -> Kind:
    """Features of an encoder; all stages, as published linear probes read them."""

    def kind(sample: Sample, rows: np.ndarray) -> np.ndarray:
        features = model.encode(sample.cloud(), stages=stages)
        assert isinstance(features, torch.Tensor)
        return features[torch.from_numpy(rows)].float().cpu().numpy()

    return kind


def lifted(teacher: ImageTeacher) -> Kind:
    """Features of images, at each point the mean over the images that see it, zero where none."""

    def kind(sample: Sample, rows: np.ndarray) -> np.ndarray:
        total, count = torch.zeros(len(rows), teacher.width), torch.zeros(len(rows), 1)
        row_of_point = np.full(len(sample.coord), -1)
        row_of_point[rows] = np.arange(len(rows))
        for image, seen in zip(sample.images, sample.seen, strict=True):
            patches, size = _patches(teacher, image), image.shape[1::-1]
            seen = seen[row_of_point[seen[:, 2]] >= 0]
            for pixels in np.split(seen, range(CHUNK, len(seen), CHUNK)):
                point = torch.from_numpy(row_of_point[pixels[:, 2]])
                total.index_add_(0, point, _at_pixels(patches, pixels[:, :2], size))
                count.index_add_(0, point, torch.ones(len(point), 1))
        return total.div_(count.clamp(min=1)).numpy()

    return kind


def once(kind: Kind) -> Kind:
    """The same, computed once where it is asked for the same several times in a row."""
    last: list[tuple[Sample, np.ndarray, np.ndarray]] = []

    def remembered(sample: Sample, rows: np.ndarray) -> np.ndarray:
        if not last or last[0][0] is not sample or last[0][1] is not rows:
            last[:] = [(sample, rows, kind(sample, rows))]
        return last[0][2]

    return remembered


def together(kinds: Sequence[Kind]) -> Kind:
    """Several kinds side by side."""
    return lambda sample, rows: np.hstack([kind(sample, rows) for kind in kinds])


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
