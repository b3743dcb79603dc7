"""What training passes from hand to hand: a sample, its views, a batch of them.

A source of scenes yields `Sample`s, the view generator turns each into `SampleViews`, `collate`
lays those one after another in a `Batch`, and the objective reads that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.points.point_cloud import PointCloud


@dataclass(frozen=True)
class Sample:
    """A scene, or part of one, with images that see it.

    name: for messages. coord: (n, 3) float32 metres. color: (n, 3) uint8. normal: (n, 3) float32
    of unit length, zero where unknown. images: (H, W, 3) uint8 RGB each.
    seen: for each image (m, 3) int64 rows of x pixel, y pixel, and the point that is seen there.
    segment: (n,) int16 class of each point, -1 where it has none; None in data without labels.
    instance: (n,) int32 number of the thing that each point belongs to, -1 where none; or None.
    """

    name: str
    coord: np.ndarray
    color: np.ndarray
    normal: np.ndarray
    images: tuple[np.ndarray, ...] = ()
    seen: tuple[np.ndarray, ...] = ()
    segment: np.ndarray | None = None
    instance: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """The class (n,) of each point, -1 where it has none, as all do in data without labels."""
        return np.full(len(self.coord), -1) if self.segment is None else self.segment

    def cloud(self) -> PointCloud:
        """Its points, as (n, 3) float32: coordinates, colour in 0-1, normal."""
        return PointCloud(
            torch.from_numpy(self.coord),
            torch.from_numpy(self.color).float() / 255,
            torch.from_numpy(self.normal),
        )


@dataclass(frozen=True)
class View:
    """A crop of a sample after augmentation, one row a voxel.

    feat: (n, 9) float32 coordinates (m), colour (0-1), normal: what the encoder takes.
    grid_coord: (n, 3) int64 >= 0, all different. origin_coord: (n, 3) float32, the coordinates
    before augmentation, by which views are matched.
    """

    feat: Tensor
    grid_coord: Tensor
    origin_coord: Tensor


@dataclass(frozen=True)
class SampleViews:
    """All views of one sample.

    seed: what all randomness of this sample in this epoch comes from. principal, second: the two
    global views. local: the local ones. images: (I, 3, H, W) float32 in 0-1, those that see the
    principal view. pixels: for each view, in this order, (n, I, 2) float32, where each of its
    points lies in each image, row and column in patches; -1 where the image does not see it.
    """

    name: str
    seed: int
    principal: View
    second: View
    local: tuple[View, ...]
    images: Tensor
    pixels: tuple[Tensor, ...]

    @property
    def views(self) -> tuple[View, ...]:
        """All of them, in order."""
        return self.principal, self.second, *self.local


@dataclass(frozen=True)
class Clouds:
    """Views one after another. Rows as in `View`; offsets: (B,) int64 ends of the clouds."""

    feat: Tensor
    grid_coord: Tensor
    origin_coord: Tensor
    offsets: Tensor

    def to(self, device: torch.device | str) -> Clouds:
        """The same on another device."""
        return Clouds(
            feat=self.feat.to(device, non_blocking=True),
            grid_coord=self.grid_coord.to(device, non_blocking=True),
            origin_coord=self.origin_coord.to(device, non_blocking=True),
            offsets=self.offsets.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Batch:
    """The views of S samples, sample after sample.

    names: of the samples. seeds: (S,) int64. global_views: 2S clouds: principal, second,
    principal, second … local_views: the same number for every sample. images: (I, 3, H, W) of all
    samples. image_counts: how many each sample has. global_pixels, local_pixels: (n, most images of
    a sample, 2) as in `SampleViews` for every row of `global_views` and of `local_views`, -1 for
    absent images.
    """

    names: tuple[str, ...]
    seeds: Tensor
    global_views: Clouds
    local_views: Clouds
    images: Tensor
    image_counts: tuple[int, ...]
    global_pixels: Tensor
    local_pixels: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device; copies from pinned memory overlap with computing."""
        return replace(
            self,
            seeds=self.seeds.to(device, non_blocking=True),
            global_views=self.global_views.to(device),
            local_views=self.local_views.to(device),
            images=self.images.to(device, non_blocking=True),
            global_pixels=self.global_pixels.to(device, non_blocking=True),
            local_pixels=self.local_pixels.to(device, non_blocking=True),
        )


def collate(samples: list[SampleViews]) -> Batch:
    """Lay the views of several samples one after another."""
    most = max(len(sample.images) for sample in samples)
    return Batch(
        names=tuple(sample.name for sample in samples),
        seeds=torch.tensor([sample.seed for sample in samples]),
        global_views=_lay([view for sample in samples for view in sample.views[:2]]),
        local_views=_lay([view for sample in samples for view in sample.views[2:]]),
        images=torch.cat([sample.images for sample in samples]),
        image_counts=tuple(len(sample.images) for sample in samples),
        global_pixels=_lay_pixels([one for sample in samples for one in sample.pixels[:2]], most),
        local_pixels=_lay_pixels([one for sample in samples for one in sample.pixels[2:]], most),
    )


def _lay(views: list[View]) -> Clouds:
    return Clouds(
        feat=torch.cat([view.feat for view in views]),
        grid_coord=torch.cat([view.grid_coord for view in views]),
        origin_coord=torch.cat([view.origin_coord for view in views]),
        offsets=torch.tensor(list(accumulate(len(view.feat) for view in views))),
    )


def _lay_pixels(pixels: list[Tensor], most: int) -> Tensor:
    """Of views (n, I, 2) each, I at most `most`: (Σn, most, 2)."""
    return torch.cat([F.pad(one, (0, 0, 0, most - one.shape[1]), value=-1.0) for one in pixels])
