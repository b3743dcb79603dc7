"""Which point of one view is which of another: the nearest in the coordinates they were cut from.

On a CPU a k-d tree finds it (scipy), on an accelerator all distances are computed, a slice at a
time. Both are exact, and of points equally near both take the one of the lowest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from concerto.grids import sizes_of
from concerto.training.pretraining.levels import LevelPoints

# Distances that are held at a time.
SLICE = 2**24


@dataclass(frozen=True)
class Matches:
    """p matches. source, target: (p,) int64 rows, source rising. view: (p,) int64 source cloud.

    counts: (B,) int64 matches of each source cloud.
    """

    source: Tensor
    target: Tensor
    view: Tensor
    counts: Tensor


def match(
    source: LevelPoints, target: LevelPoints, target_of: Sequence[int], radius: float
) -> Matches:
    """For each source point the nearest of a target cloud, where it is nearer than `radius` (m).

    target_of: for each cloud of `source`, the cloud of `target` to search.
    """
    starts = list(accumulate(sizes_of(target.offsets), initial=0))
    clouds = target.coord.split(sizes_of(target.offsets))
    sources, targets, first = [], [], 0
    for points, cloud in zip(source.coord.split(sizes_of(source.offsets)), target_of, strict=True):
        rows, found = nearest(points, clouds[cloud], radius)
        sources.append(rows + first)
        targets.append(found + starts[cloud])
        first += len(points)
    counts = torch.tensor([len(rows) for rows in sources], device=source.coord.device)
    view = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return Matches(torch.cat(sources), torch.cat(targets), view, counts)


def nearest(points: Tensor, cloud: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Rows of `points` (n, 3) that have a neighbour in `cloud` (m, 3), and the neighbours' rows."""
    if not len(points) or not len(cloud):
        nothing = torch.empty(0, dtype=torch.int64, device=points.device)
        return nothing, nothing
    if points.device.type == "cpu":
        distance, found = _by_tree(points, cloud, radius)
    else:
        distance, found = _by_distances(points, cloud)
    rows = (distance < radius).nonzero().flatten()
    return rows, found[rows]


def _by_tree(points: Tensor, cloud: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    tree = cKDTree(cloud.numpy())
    distances, rows = map(
        torch.from_numpy, tree.query(points.numpy(), k=2, distance_upper_bound=radius)
    )
    distance, found = distances[:, 0], rows[:, 0]
    # The tree does not say which of several equally near points it returns.
    tied = (distance.isfinite() & (distance == distances[:, 1])).nonzero().flatten()
    if len(tied):
        found[tied] = _by_distances(points[tied].double(), cloud.double())[1]
    return distance, found


def _by_distances(points: Tensor, cloud: Tensor) -> tuple[Tensor, Tensor]:
    distances, rows = [], []
    for part in points.split(max(1, SLICE // len(cloud))):
        # Not as a matrix product, which loses the last digits of small distances.
        every = torch.cdist(part, cloud, compute_mode="donot_use_mm_for_euclid_dist")
        row = every.argmin(1)
        rows.append(row)
        distances.append(every.gather(1, row[:, None]).flatten())
    return torch.cat(distances), torch.cat(rows)
