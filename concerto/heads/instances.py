"""Things told apart without having been trained for it: connected voxels of one class, alike.

A plain baseline. Touching voxels belong together where their class is the same and their features
point the same way; two chairs that stand apart become two, two that touch only where their
features differ.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.connected import connected, touching
from concerto.grids import cloud_of_row
from concerto.hierarchy import Hierarchy

# Pairs of neighbours compared at a time.
CHUNK = 2**16


def group_voxels(
    hierarchy: Hierarchy, classes: Tensor, similarity: float, min_points: int
) -> Tensor:
    """The thing (n,) int64 that each of the finest voxels of one scene belongs to; -1 for none.

    Numbered from the largest on. classes: (n,) int64. similarity: cosine of the features from which
    on neighbours belong together. min_points: a thing of fewer points is none.
    """
    level = hierarchy.levels[0]
    one, other = touching(level.grid_coord, cloud_of_row(level.offsets, len(level.feat)))
    features = hierarchy.features(at="voxels")
    assert isinstance(features, Tensor)
    same = classes[one] == classes[other]
    one, other = one[same], other[same]
    cosine = torch.cat(
        [
            F.cosine_similarity(features[some].float(), features[beside].float())
            for some, beside in zip(one.split(CHUNK), other.split(CHUNK), strict=True)
        ]
        or [features.new_zeros(0)]
    )
    alike = cosine >= similarity
    number = connected(one[alike], other[alike], len(classes)).cpu().numpy()
    points = hierarchy.voxel_of_point.cpu().numpy()
    counts = np.bincount(number[points[points >= 0]], minlength=number.max(initial=-1) + 1)
    order = np.argsort(-counts, kind="stable")
    names = np.full(len(counts), -1)
    names[order] = np.where(counts[order] >= min_points, np.arange(len(counts)), -1)
    return torch.from_numpy(names[number]).to(classes.device)
