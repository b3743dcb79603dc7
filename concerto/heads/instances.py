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

from concerto.encoder.sparse_conv import find_neighbors
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
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    level = hierarchy.levels[0]
    batch = cloud_of_row(level.offsets, len(level.feat))
    neighbors = find_neighbors(level.grid_coord, batch)
    behind, ahead = torch.cat(neighbors.behind), torch.cat(neighbors.ahead)
    features = hierarchy.features(at="voxels")
    assert isinstance(features, Tensor)
    alike = classes[behind] == classes[ahead]
    behind, ahead = behind[alike], ahead[alike]
    cosine = torch.cat(
        [
            F.cosine_similarity(features[one].float(), features[other].float())
            for one, other in zip(behind.split(CHUNK), ahead.split(CHUNK), strict=True)
        ]
        or [features.new_zeros(0)]
    )
    joined = (cosine >= similarity).cpu().numpy()
    rows, columns = behind.cpu().numpy()[joined], ahead.cpu().numpy()[joined]
    size = (len(classes), len(classes))
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), size)
    things, number = connected_components(graph, directed=False)
    points = hierarchy.voxel_of_point.cpu().numpy()
    counts = np.bincount(number[points[points >= 0]], minlength=things)
    order = np.argsort(-counts, kind="stable")
    names = np.full(things, -1)
    names[order] = np.where(counts[order] >= min_points, np.arange(things), -1)
    return torch.from_numpy(names[number]).to(classes.device)
