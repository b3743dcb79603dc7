"""Voxels that touch, and what hangs together: for regions of a text, and for single things."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from concerto.encoder.sparse_conv import find_neighbors


def touching(grid_coord: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of voxels of a cloud that share a face, an edge or a corner: rows (m,) each.

    grid_coord: (n, 3) int64 >= 0, one row a voxel. batch: (n,) int64 cloud of each.
    """
    if not len(grid_coord):
        return batch, batch
    neighbors = find_neighbors(grid_coord, batch)
    return neighbors.behind, neighbors.ahead


def connected(one: Tensor, other: Tensor, count: int) -> Tensor:
    """A number for each of `count` rows: (count,) int64, equal where a path of pairs leads.

    one, other: (m,) int64 rows of each pair. Numbers count from 0 without a gap.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = one.cpu().numpy(), other.cpu().numpy()
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), (count, count))
    _, numbers = connected_components(graph, directed=False)
    return torch.from_numpy(numbers.astype(np.int64)).to(one.device)
