"""A labelled scene → what a segmenter learns from: augmented voxels with a class each, mixed.

Geometry and colours are changed as in pretraining. Scenes are laid over each other in pairs
(Mix3D, arXiv 2110.02210), so that a class is not known by what it always stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from concerto.config import ConcertoConfig
from concerto.errors import ConfigError, InputError
from concerto.grids import group_rows, pack, spans
from concerto.training.augment import augment_color, augment_geometry
from concerto.training.cells import one_a_cell
from concerto.training.check_sample import check_sample
from concerto.training.samples import Sample


@dataclass(frozen=True)
class LabelledViewConfig:
    """How labelled scenes are changed and mixed."""

    most_points: int = 102_400
    """Voxels of a scene at most; of a larger one, those nearest to a random point."""
    mix: float = 0.8
    """How often two neighbours in a batch are laid over each other."""
    augment: bool = True
    """Change geometry and colours."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        if self.most_points < 1:
            raise ConfigError(f"views.most_points is {self.most_points}; it must be at least 1.")
        if not 0 <= self.mix <= 1:
            raise ConfigError(f"views.mix is {self.mix:g}; it is a share in 0 … 1.")


@dataclass(frozen=True)
class LabelledView:
    """One scene, a row a voxel. feat: (n, 9), grid_coord: (n, 3) int64, as in `View`. segment: (n,)
    int64, -1 for none. mix: drawn for whether to be mixed with the next."""

    name: str
    seed: int
    feat: Tensor
    grid_coord: Tensor
    segment: Tensor
    mix: float


@dataclass(frozen=True)
class LabelledBatch:
    """B clouds one after another, each of one scene or of two. offsets: (B,) ends. seeds: (B,)."""

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
    sample: Sample, seed: int, config: LabelledViewConfig, model: ConcertoConfig
) -> LabelledView:
    """Cut a labelled scene, change it, and cut it into voxels as the encoder's config says.

    Raises InputError where the sample cannot be used, or has no labels.
    """
    check_sample(sample, model.grid_size / model.coord_scale, patches=1)
    if sample.segment is None:
        raise InputError(f"Sample {sample.name!r} has no labels.")
    random = np.random.default_rng(seed)
    # First of all, as in pretraining: jitter and distortion are lengths that the encoder sees.
    scaled = sample.coord * np.float32(model.coord_scale)
    rows = _one_a_voxel(_cells(scaled, model.grid_size), sample.segment, random)
    coord = scaled[rows]
    if len(rows) > config.most_points:
        distance = ((coord - coord[random.integers(len(coord))]) ** 2).sum(1)
        near = np.sort(np.argpartition(distance, config.most_points)[: config.most_points])
        rows, coord = rows[near], coord[near]
    color = np.asarray(sample.color[rows].T, np.float32) / np.float32(255)
    normal = sample.normal[rows].T
    if config.augment:
        moved, normal = augment_geometry(coord.T, normal, random)
        if model.center != "xyz":
            # Changed about the middle of its floor, which such a model is not given as 0.
            low, high = coord.min(0), coord.max(0)
            middle = np.array([*(low[:2] + high[:2]) / 2, low[2]], np.float32)
            moved = moved + middle[:, None]
        color = augment_color(color, random)
    else:
        moved = coord.T
    moved = _centred(moved, model)
    # Augmented points may share a voxel, and the encoder takes no two.
    cells = _cells(moved.T, model.grid_size)
    kept = _one_a_voxel(cells, sample.segment[rows], random)
    moved, color, normal = moved[:, kept], color[:, kept], normal[:, kept]
    feat = np.ascontiguousarray(np.concatenate([moved, color, normal]).T, np.float32)
    return LabelledView(
        name=sample.name,
        seed=seed,
        feat=torch.from_numpy(feat),
        grid_coord=_cells(moved.T, model.grid_size),
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
    """Scenes in one place; where two share a voxel, it is whose point has a class, else the seed
    decides."""
    first = views[0]
    if len(views) == 1:
        return first
    feat, grid, segment = (
        torch.cat([getattr(view, name) for view in views])
        for name in ("feat", "grid_coord", "segment")
    )
    random = np.random.default_rng(first.seed + 1)
    rows = torch.from_numpy(_one_a_voxel(grid, segment.numpy(), random))
    return replace(first, feat=feat[rows], grid_coord=grid[rows], segment=segment[rows])


def _centred(coord: np.ndarray, model: ConcertoConfig) -> np.ndarray:
    """Coordinates (3, n) as the model is given them: x and y about 0, z from 0 or as it is."""
    if model.center == "none":
        return coord
    low, high = coord.min(1, keepdims=True), coord.max(1, keepdims=True)
    shift = (low + high) / 2
    shift[2] = low[2] if model.center == "xyz" else 0
    return np.asarray(coord - shift)


def _one_a_voxel(cells: Tensor, segment: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rows, in order, of one random point of each voxel; of those with a class, where it has any.

    Else most of few labels would be lost to points without one. cells: (n, 3), segment: (n,).
    """
    known = segment >= 0
    rows = np.arange(len(cells))
    if not known.all():
        group = group_rows(pack(cells, torch.zeros((), dtype=torch.int64), spans(cells))).group
        labelled = np.zeros(len(cells), bool)
        labelled[group.numpy()[known]] = True
        rows = np.flatnonzero(known | ~labelled[group.numpy()])
    return np.asarray(rows[np.sort(one_a_cell(cells[torch.from_numpy(rows)], random))])


def _cells(coord: np.ndarray, grid_size: float) -> Tensor:
    """Voxels (n, 3) int64, counted from the cloud's own corner."""
    cells = np.floor(coord / np.float32(grid_size)).astype(np.int64)
    return torch.from_numpy(cells - cells.min(0))
