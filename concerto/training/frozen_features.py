"""What a frozen encoder makes of a labelled scene: features and classes of its finest voxels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from concerto.hierarchy import Hierarchy, Stages
from concerto.model import Concerto
from concerto.training.check_sample import naming
from concerto.training.pictures import cloud_of
from concerto.training.samples import Sample


def frozen_features(
    model: Concerto, sample: Sample, classes: int, stages: Stages = "all"
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, C) float32 and classes (n,) int64 of a scene's n voxels; -1 where none.

    Raises InputError, naming the sample, where its points cannot be encoded.
    """
    labels = []

    def read(hierarchy: Hierarchy) -> Tensor:
        voxels = len(hierarchy.levels[0].feat)
        rows = hierarchy.voxel_of_point.cpu().numpy()
        labels.append(voxel_classes(sample.labels, rows, voxels, classes))
        features = hierarchy.features(stages, at="voxels")
        assert isinstance(features, Tensor)
        return features

    with naming(sample):
        found = model.infer(cloud_of(sample), read)
    assert isinstance(found, Tensor)
    return found.to("cpu", torch.float32).numpy(), labels[0]


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
