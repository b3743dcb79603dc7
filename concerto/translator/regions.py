"""Where a text is: voxels that answer to it, gathered into connected regions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from concerto.arguments import positive_integer
from concerto.connected import connected, touching
from concerto.errors import InputError
from concerto.grids import cloud_of_row
from concerto.hierarchy import Hierarchy, Level

# What a text is compared with where it is asked for alone: LERF's canonical phrases
# (arXiv 2303.09553).
CANONICAL = ("object", "things", "stuff", "texture")


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


@dataclass(frozen=True)
class Search:
    """Which regions are looked for. threshold: what the relevance of their voxels is above.
    least_voxels: of a region. top: how many, at most."""

    threshold: float
    least_voxels: int
    top: int

    def __post_init__(self) -> None:
        """Raises InputError where one of these is no number, or bounds nothing."""
        if not (isinstance(self.threshold, Real) and math.isfinite(self.threshold)):
            raise InputError(
                f"threshold is {self.threshold!r}; it must be a number, as relevance is, which "
                "lies in 0-1."
            )
        positive_integer(self.least_voxels, "least_voxels")
        positive_integer(self.top, "top")

    def regions(
        self, hierarchy: Hierarchy, stage: int, score: Tensor, coord: Tensor
    ) -> list[Region]:
        """Regions of one scene, the best first.

        score: (n,) in 0-1, the relevance of the rows of a stage. coord: (N, 3) of the points.
        """
        rows = (score > self.threshold).nonzero().flatten()
        number = torch.full_like(score, -1, dtype=torch.int64)
        number[rows] = components(hierarchy.levels[stage], rows)
        found = hierarchy.at_points(number, stage, absent=-1)
        member = found if isinstance(found, Tensor) else found[0]
        best = ranked(score[rows], number[rows], self.least_voxels, self.top)
        return [_region(coord, (member == n).nonzero().flatten(), mean) for n, mean in best]


def relevance(cosines: Tensor, temperature: float) -> Tensor:
    """How much rather the first text than any other: (n,) in 0-1, 0.5 where another is as near.

    cosines: (n, 1 + K) to the text and to those that it is compared with. The least of the
    softmaxes of each pair (LERF, arXiv 2303.09553).
    """
    return torch.sigmoid((cosines[:, 0] - cosines[:, 1:].amax(1)) / temperature)


def components(level: Level, rows: Tensor) -> Tensor:
    """A number (n,) int64 for each of some rows of a level: equal where a path of them connects."""
    batch = cloud_of_row(level.offsets, len(level.grid_coord))
    return connected(*touching(level.grid_coord[rows], batch[rows]), len(rows))


def ranked(score: Tensor, number: Tensor, least: int, top: int) -> list[tuple[int, float]]:
    """Components by their mean score, best first: number and score of at most `top` of them.

    score: (n,) of rows, number: (n,) their component. least: rows that a component must have.
    """
    # On the CPU, as Apple's GPUs have no float64.
    score, number = score.cpu(), number.cpu()
    count = torch.bincount(number)
    mean = torch.zeros(len(count), dtype=torch.float64, device="cpu")
    mean = mean.index_add(0, number, score.double()) / count
    large = (count >= least).nonzero().flatten()
    best = large[mean[large].argsort(descending=True, stable=True)][:top]
    return [(int(n), float(mean[n])) for n in best]


def _region(coord: Tensor, points: Tensor, score: float) -> Region:
    inside = coord[points.to(coord.device)]
    return Region(points, inside.amin(0), inside.amax(0), score)
