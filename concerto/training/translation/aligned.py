"""What a translator's map is trained on: voxels of a sample, and what is said of each.

A sample says which of its points correspond to which of several vectors: the patches of its
images, or the names of its classes. The rest is the same for both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.config import ConcertoConfig
from concerto.errors import InputError
from concerto.hierarchy import Hierarchy
from concerto.points.prepare import EncoderInput, prepare
from concerto.training.scenes.check_sample import check_sample
from concerto.training.scenes.samples import Sample
from concerto.training.views.degrade import degrade
from concerto.training.views.images import fit_image, patches_of_pixels


@dataclass(frozen=True)
class PatchGrid:
    """Images as a teacher takes them: image_size pixels, `side` patches a side."""

    image_size: int
    side: int


@dataclass(frozen=True)
class AlignedSample:
    """One scene as the encoder takes it, and what is known of its points.

    images: (I, 3, S, S) in 0-1, none where labels speak. voxel, vector: (h,) int64, a row of the
    scene's voxels and of the vectors for each thing that is known of a point.
    """

    name: str
    scene: EncoderInput
    images: Tensor
    voxel: Tensor
    vector: Tensor

    def to(self, device: torch.device) -> AlignedSample:
        """The same on another device."""
        return replace(
            self,
            scene=self.scene.to(device),
            images=self.images.to(device),
            voxel=self.voxel.to(device),
            vector=self.vector.to(device),
        )


@dataclass(frozen=True)
class AlignedBatch:
    """Several samples. Each is encoded alone, so nothing needs to be laid together."""

    samples: tuple[AlignedSample, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the samples."""
        return tuple(sample.name for sample in self.samples)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> AlignedBatch:
        """The same on another device."""
        return AlignedBatch(tuple(sample.to(torch.device(device)) for sample in self.samples))


def lay(samples: list[AlignedSample]) -> AlignedBatch:
    """Several samples as a batch."""
    return AlignedBatch(tuple(samples))


def align(
    sample: Sample,
    seed: int,
    config: ConcertoConfig,
    grid: PatchGrid | None,
    poorer: bool = False,
) -> AlignedSample:
    """A sample with the patches that its points are seen in, or without `grid` their classes.

    poorer: degrade its points, as the seed has it. Raises InputError where nothing is known of any
    point.
    """
    voxel = config.grid_size / config.coord_scale
    check_sample(sample, voxel, 1 if grid is None else grid.side)
    cloud, rows = sample.cloud(), np.arange(len(sample.coord))
    if poorer:
        cloud, rows = degrade(cloud, voxel, np.random.default_rng(seed))
    scene = prepare(cloud, config.coord_scale, config.grid_size, config.center)
    images = torch.zeros(0)
    if grid is not None:
        images, point, vector = _seen(sample, grid)
    else:
        segment = sample.labels
        point = torch.from_numpy(np.flatnonzero(segment >= 0))
        vector = torch.from_numpy(segment.astype(np.int64))[point]
    voxel_of_point = torch.full((len(sample.coord),), -1)
    voxel_of_point[rows] = scene.voxel_of_point
    voxels = voxel_of_point[point]
    left = voxels >= 0
    if not left.any():
        what = "class" if grid is None else "pixel of an image"
        raise InputError(f"Sample {sample.name!r}: no point has a {what}.")
    return AlignedSample(sample.name, scene, images, voxels[left], vector[left])


class Pairs(NamedTuple):
    """What a map is fitted to, m voxels: features (m, C) and unit vectors (m, D), float32, and how
    much each voxel counts, weight (m,)."""

    features: Tensor
    targets: Tensor
    weight: Tensor


def pairs(
    hierarchy: Hierarchy,
    stages: tuple[int, ...],
    sample: AlignedSample,
    vectors: Tensor,
    balance: bool = False,
) -> Pairs:
    """Voxels of the finest stage, and what to map them to.

    vectors: (V, D) unit vectors that `sample.vector` counts. A voxel's is the mean over what is
    known of the points in it, brought back to unit length. Voxels of which nothing is known, or
    whose mean is nothing, are left out. balance: voxels of what many others are too count less, by
    the root of how many; else all count alike.
    """
    rows = cast(Tensor, hierarchy.at_points(_numbers(hierarchy, stages[0]), stages[0]))
    voxels, row = torch.unique(rows[sample.voxel], return_inverse=True)
    # As a sparse matrix of shares: one vector for each thing known would be of gigabytes.
    share = torch.bincount(row).to(vectors).reciprocal()[row]
    shares = torch.sparse_coo_tensor(
        torch.stack([row, sample.vector]),
        share,
        (len(voxels), len(vectors)),
        check_invariants=False,
    )
    total = torch.sparse.mm(shares, vectors.float())
    weight = torch.ones(len(voxels), device=total.device)
    if balance:
        often = torch.zeros(len(vectors), device=total.device)
        often.index_add_(0, sample.vector, share)
        rare = often.clamp(min=torch.finfo(torch.float32).eps).rsqrt()
        weight = torch.sparse.mm(shares, rare[:, None])[:, 0]
    length = total.norm(dim=1)
    kept = length > torch.finfo(torch.float32).eps
    features = cast(Tensor, hierarchy.features(stages, at=stages[0]))
    weight = weight[kept] / weight[kept].mean()
    return Pairs(features[voxels[kept]].float(), F.normalize(total[kept], dim=1), weight)


def _numbers(hierarchy: Hierarchy, stage: int) -> Tensor:
    feat = hierarchy.levels[stage].feat
    return torch.arange(len(feat), device=feat.device)


def _seen(sample: Sample, grid: PatchGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Images (I, 3, S, S), and for each point and image that sees it the point and the patch."""
    side = grid.side
    images, points, patches = [], [], []
    for number, (image, seen) in enumerate(zip(sample.images, sample.seen, strict=True)):
        height, width = image.shape[:2]
        place = patches_of_pixels(seen[:, :2], height, width, side)
        inside = place[:, 0] >= 0
        row, column = place[inside].astype(np.int64).T
        images.append(fit_image(image, grid.image_size, side))
        points.append(seen[inside, 2])
        patches.append((number * side + row) * side + column)
    if not images:
        return torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    point, patch = np.concatenate(points), np.concatenate(patches)
    return torch.stack(images), torch.from_numpy(point), torch.from_numpy(patch)
