"""Where a text is: voxels that answer to it, gathered into connected regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from concerto.grids import cloud_of_row, pack, spans
from concerto.hierarchy import Level

# What a text is compared with where it is asked for alone: LERF's canonical phrases
# (arXiv 2303.09553).
CANONICAL = ("object", "things", "stuff", "texture")
# Voxels touch across faces, edges and corners: half of the 26 neighbours, the others mirror them.
HALF_NEIGHBORS = [
    (x, y, z) for x in (0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)
]


@dataclass(frozen=True)
class Region:
    """Connected points that answer to a text.

    points: (n,) int64 rows of the input. low, high: (3,) corners of the box around them, in the
    input's own coordinates. score: 0-1, mean relevance over the region's voxels.
    """

    points: Tensor
    low: Tensor
    high: Tensor
    score: float


def relevance(cosines: Tensor, temperature: float) -> Tensor:
    """How much rather the first text than any other: (n,) in 0-1, 0.5 where another is as near.

    cosines: (n, 1 + K) to the text and to those that it is compared with. The least of the
    softmaxes of each pair (LERF, arXiv 2303.09553).
    """
    return torch.sigmoid((cosines[:, 0] - cosines[:, 1:].amax(1)) / temperature)


def components(level: Level, rows: Tensor) -> Tensor:
    """A number (n,) int64 for each of some rows of a level: equal where a path of them connects."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    grid = level.grid_coord
    extent = spans(grid)
    keys = pack(grid, cloud_of_row(level.offsets, len(grid)), extent)[rows]
    keys, order = keys.sort()
    edges = [np.zeros((2, 0), np.int64)]
    for x, y, z in HALF_NEIGHBORS:
        step = (x * extent[1] + y) * extent[2] + z
        place = torch.searchsorted(keys, keys + step).clamp(max=len(keys) - 1)
        met = keys[place] == keys + step
        edges.append(torch.stack([order[met], order[place[met]]]).cpu().numpy())
    start, end = np.concatenate(edges, axis=1)
    count = len(rows)
    graph = coo_matrix((np.ones(len(start), bool), (start, end)), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    return torch.from_numpy(numbers.astype(np.int64)).to(rows.device)


def ranked(score: Tensor, number: Tensor, least: int, top: int) -> list[tuple[int, float]]:
    """Components by their mean score, best first: number and score of at most `top` of them.

    score: (n,) of rows, number: (n,) their component. least: rows that a component must have.
    """
    count = torch.bincount(number)
    mean = torch.zeros(len(count), dtype=torch.float64, device=score.device)
    mean = mean.index_add(0, number, score.double()) / count
    large = (count >= least).nonzero().flatten()
    best = large[mean[large].argsort(descending=True, stable=True)][:top]
    return [(int(n), float(mean[n])) for n in best]
