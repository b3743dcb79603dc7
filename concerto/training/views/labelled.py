"""A labelled scene → what a segmenter learns from: augmented voxels with a class each, mixed.

As published, all points are changed, then cut into voxels once, and of a large scene a part is
taken, which keeps its height above the floor. Scenes are laid over each other in pairs (Mix3D,
arXiv 2110.02210), so that a class is not known by what it always stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from concerto.config import ConcertoConfig
from concerto.errors import ConfigError, InputError
from concerto.grids import group_rows, keys_of
from concerto.training.scenes.check_sample import check_sample
from concerto.training.scenes.samples import Sample
from concerto.training.views.augment import floor_middle
from concerto.training.views.augment_labelled import color_labelled, drop_points, move_labelled
from concerto.training.views.cells import one_a_group
from concerto.training.views.crops import nearest


@dataclass(frozen=True)
class LabelledViewConfig:
    """How labelled scenes are changed and mixed."""

    most_points: int = 102_400
    """Voxels of a scene at most; of a larger one, those nearest to a random point."""
    mix: float = 0.8
    """How often two neighbours in a batch are laid over each other."""
    augment: bool = True
    """Leave out points, and change geometry and colours."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        if self.most_points < 1:
            raise ConfigError(f"views.most_points is {self.most_points}; it must be at least 1.")
        if not 0 <= self.mix <= 1:
            raise ConfigError(f"views.mix is {self.mix:g}; it is a share in 0 … 1.")


@dataclass(frozen=True)
class LabelledView:
    """One scene, a row a voxel. feat: (n, 9), as in `View`. grid_coord: (n, 3) int64, x and y from
    the view's own corner, z from the scene's lowest voxel. segment: (n,) int64, -1 for none. mix:
    drawn for whether to be mixed with the next."""

    name: str
    seed: int
    feat: Tensor
    grid_coord: Tensor
    segment: Tensor
    mix: float


@dataclass(frozen=True)
class LabelledBatch:
    """B clouds one after another, each of one scene or of two, and each with the smallest
    grid_coord 0 along each axis. offsets: (B,) ends. seeds: (B,)."""

    names: tuple[str, ...]
    seeds: Tensor
    feat: Tensor
    grid_coord: Tensor
    segment: Tensor
    offsets: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = True) -> LabelledBatch:
        """The same on another device."""
        names = ("seeds", "feat", "grid_coord", "segment", "offsets")
        moved = {n: getattr(self, n).to(device, non_blocking=non_blocking) for n in names}
        return replace(self, **moved)


def make_labelled_view(
    sample: Sample,
    seed: int,
    config: LabelledViewConfig,
    model: ConcertoConfig,
    keep_labels: bool = False,
) -> LabelledView:
    """Change a labelled scene, cut it into voxels as the encoder's config says, and take a part.

    keep_labels: points with a class are never left out, where so few have one that each counts.

    Raises InputError where the sample cannot be used, or has no labels.
    """
    check_sample(sample, model.grid_size / model.coord_scale, patches=1)
    if sample.segment is None:
        raise InputError(f"Sample {sample.name!r} has no labels.")
    random = np.random.default_rng(seed)
    rows = np.arange(len(sample.coord))
    if config.augment:
        dropped = drop_points(len(rows), random)
        rows = np.flatnonzero(~dropped | (keep_labels & (sample.segment >= 0)))
    coord, color, normal = _changed(sample, rows, config.augment, model, random)
    cells = _cells(coord, model.grid_size)
    kept = _one_a_voxel(cells, sample.segment[rows], random)
    if len(kept) > config.most_points:
        voxels = coord.take(kept, 1)
        center = voxels[:, random.integers(len(kept))]
        kept = kept[nearest(voxels, center, config.most_points)]
    coord = _centred(coord.take(kept, 1), model)
    feat = np.concatenate([coord, color.take(kept, 1), normal.take(kept, 1)])
    grid = cells[torch.from_numpy(kept)]
    grid[:, :2] -= grid[:, :2].amin(0)
    return LabelledView(
        name=sample.name,
        seed=seed,
        feat=torch.from_numpy(feat).T.contiguous(),
        grid_coord=grid,
        segment=torch.from_numpy(sample.segment[rows[kept]].astype(np.int64)),
        mix=random.random() / max(config.mix, 1e-9),
    )


def collate_labelled(views: list[LabelledView]) -> LabelledBatch:
    """Lay views one after another; neighbours, the first with the second, become one cloud where
    the first of them drew so."""
    clouds: list[list[LabelledView]] = []
    for first in range(0, len(views), 2):
        pair = views[first : first + 2]
        clouds += [pair] if pair[0].mix < 1 else [[view] for view in pair]
    laid = [_overlaid(cloud) for cloud in clouds]
    return LabelledBatch(
        names=tuple(view.name for view in views),
        seeds=torch.tensor([cloud[0].seed for cloud in clouds]),
        feat=torch.cat([cloud.feat for cloud in laid]),
        grid_coord=torch.cat([cloud.grid_coord for cloud in laid]),
        segment=torch.cat([cloud.segment for cloud in laid]),
        offsets=torch.tensor(list(accumulate(len(cloud.feat) for cloud in laid))),
    )


def _overlaid(views: list[LabelledView]) -> LabelledView:
    """Scenes in one place, on one floor; where two share a voxel, it is whose point has a class,
    else the seed decides."""
    first = views[0]
    feat, grid, segment = (
        torch.cat([getattr(view, name) for view in views])
        for name in ("feat", "grid_coord", "segment")
    )
    # From the cloud's own corner, as the encoder counts them in inference.
    grid = grid - grid.amin(0)
    if len(views) == 1:
        return replace(first, grid_coord=grid)
    random = np.random.default_rng(first.seed + 1)
    rows = torch.from_numpy(_one_a_voxel(grid, segment.numpy(), random))
    return replace(first, feat=feat[rows], grid_coord=grid[rows], segment=segment[rows])


def _changed(
    sample: Sample, rows: np.ndarray, augment: bool, model: ConcertoConfig, random: Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates, colours in 0-1 and normals of some points, (3, n) float32, before voxels."""
    # First of all, as in pretraining: jitter and distortion are lengths that the encoder sees.
    scaled = sample.coord.T * np.float32(model.coord_scale)
    middle = floor_middle(scaled)
    coord = scaled.take(rows, 1)
    color = sample.color.take(rows, 0).T.astype(np.float32, order="C") / np.float32(255)
    normal = sample.normal.take(rows, 0).T.astype(np.float32, order="C")
    # Only such a model is given the whole scene's floor as 0.
    from_floor = model.center == "xyz"
    if augment:
        coord, normal = move_labelled(coord - middle, normal, random)
        color = color_labelled(color, random)
        return coord if from_floor else coord + middle, color, normal
    return coord - middle if from_floor else coord, color, normal


def _centred(coord: np.ndarray, model: ConcertoConfig) -> np.ndarray:
    """Coordinates (3, n) as the model is given them: x and y about 0 where it centres them."""
    if model.center == "none":
        return coord
    shift = (coord.min(1, keepdims=True) + coord.max(1, keepdims=True)) / 2
    shift[2] = 0
    return np.asarray(coord - shift)


def _one_a_voxel(cells: Tensor, segment: np.ndarray, random: Generator) -> np.ndarray:
    """Rows, in order, of one random point of each voxel; of those with a class, where it has any.

    Else most of few labels would be lost to points without one. cells: (n, 3), segment: (n,).
    """
    # Of a voxel's points those with a class sort first.
    keys = 2 * keys_of(cells)
    keys += torch.from_numpy(segment < 0)
    chosen = one_a_group(group_rows(keys), random)
    voxel = keys.numpy()[chosen] // 2
    return np.sort(chosen[np.diff(voxel, prepend=-1) > 0])


def _cells(coord: np.ndarray, grid_size: float) -> Tensor:
    """Voxels (n, 3) int64 of coordinates (3, n), counted from the cloud's own corner."""
    cells = np.floor(coord / np.float32(grid_size)).astype(np.int64)
    return torch.from_numpy(cells - cells.min(1, keepdims=True)).T
