"""What a frozen encoder makes of a labelled scene: features and classes of its finest voxels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from concerto.hierarchy import Hierarchy
from concerto.model import Concerto
from concerto.training.scenes.check_sample import naming
from concerto.training.scenes.samples import Sample


def frozen_features(
    model: Concerto,
    sample: Sample,
    classes: int,
    keep: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, C) float32 and classes (n,) int64 of a scene's n voxels; -1 where none.

    keep: given the classes, says the rows that are wanted, (m,) of them; the features of the others
    are never put together, which for all voxels of a large scene takes gigabytes.

    Raises InputError, naming the sample, where its points cannot be encoded.
    """
    labels = []

    def read(hierarchy: Hierarchy) -> Tensor:
        voxels = len(hierarchy.levels[0].feat)
        rows = hierarchy.voxel_of_point.cpu().numpy()
        found = voxel_classes(sample.labels, rows, voxels, classes)
        kept = np.arange(voxels) if keep is None else keep(found)
        labels.append(found[kept])
        features = _at_voxels(hierarchy, kept).features("all")
        assert isinstance(features, Tensor)
        return features

    with naming(sample):
        found = model.infer(sample.cloud(), read)
    assert isinstance(found, Tensor)
    return found.to("cpu", torch.float32).numpy(), labels[0]


def _at_voxels(hierarchy: Hierarchy, rows: np.ndarray) -> Hierarchy:
    """The same levels, some of the finest voxels being the points."""
    at = torch.from_numpy(rows).to(hierarchy.voxel_of_point.device)
    return Hierarchy(hierarchy.levels, at, [len(at)], (), single=True)


def voxel_classes(
    segment: np.ndarray, voxel_of_point: np.ndarray, voxels: int, classes: int
) -> np.ndarray:
    """The class that most labelled points of each voxel have, the lower where there are as many.

    segment: (N,) integers, -1 for none. voxel_of_point: (N,) rows. Returns (voxels,) int64, -1
    where no point has a class.
    """
    known = segment >= 0
    pair = voxel_of_point[known] * classes + segment[known]
    pair, counts = np.unique(pair, return_counts=True)
    # Written in this order, a voxel's last entry is the one that stays: most points, lowest class.
    order = np.lexsort((-pair, counts))
    most = np.full(voxels, -1)
    most[pair[order] // classes] = pair[order] % classes
    return most
