"""Features of some stages → unit vectors in the joint space, a slice of rows at a time.

A map of concatenated features is the sum of a map for each stage. So a coarse feature is mapped
once, not once for every fine voxel below it, and nothing of the size (voxels, D) is ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.errors import InputError
from concerto.hierarchy import Hierarchy, Level

# Rows mapped at a time, and values of one kind that a slice may hold: 64 MB.
SLICE_ROWS = 2**13
SLICE_VALUES = 2**24


class Projection:
    """The rows of the finest of `stages`, mapped when they are asked for.

    Raises InputError where the map takes features of another width than these stages have.
    """

    def __init__(self, hierarchy: Hierarchy, stages: tuple[int, ...], linear: nn.Linear) -> None:
        _check(hierarchy.levels, stages, linear)
        self.levels, self.stages, self.stage = hierarchy.levels, stages, stages[0]
        widths = [hierarchy.levels[stage].feat.shape[1] for stage in stages]
        parts = linear.weight.detach().float().split(widths, dim=1)
        self.weights = dict(zip(stages, parts, strict=True))
        self.bias = linear.bias.detach().float()

    def __len__(self) -> int:
        return len(self.levels[self.stage].feat)

    def slices(self, rows: int = SLICE_ROWS) -> Iterator[tuple[slice, Tensor]]:
        """Unit vectors (n, D) float32, and which rows they are of, until all have come."""
        for start in range(0, len(self), rows):
            part = slice(start, min(start + rows, len(self)))
            chosen = torch.arange(part.start, part.stop, device=self.bias.device)
            yield part, F.normalize(self._map(self.stage, chosen).add_(self.bias), dim=1)

    def reduce(self, function: Callable[[Tensor], Tensor], values: int = 1) -> Tensor:
        """What `function` makes of the vectors, (n, D) → (n, …), for all rows.

        values: how many it works on for each row, if that is more than D.

        In float32 under autocast too, which would round class numbers along with cosines.
        """
        rows = max(1, min(SLICE_ROWS, SLICE_VALUES // max(values, len(self.bias))))
        out: Tensor | None = None
        with torch.autocast(self.bias.device.type, enabled=False):
            for part, vectors in self.slices(rows):
                found = function(vectors)
                if out is None:
                    out = found.new_empty(len(self), *found.shape[1:])
                out[part] = found
        assert out is not None  # no cloud is empty
        return out

    def _map(self, stage: int, rows: Tensor) -> Tensor:
        """Vectors (n, D) of rows of a level: its own share, and those of all above."""
        level = self.levels[stage]
        total: Tensor | None = None
        if stage in self.weights:
            total = level.feat.detach()[rows].float() @ self.weights[stage].T
        if stage < self.stages[-1]:
            assert level.parent is not None  # only the coarsest has none
            parents, which = torch.unique(level.parent[rows], return_inverse=True)
            above = self._map(stage + 1, parents)[which]
            total = above if total is None else total.add_(above)
        assert total is not None
        return total


def _check(levels: list[Level], stages: tuple[int, ...], linear: nn.Linear) -> None:
    if stages[-1] >= len(levels):
        raise InputError(
            f"The map takes stages {_listed(stages)}; these features have {len(levels)} stages."
        )
    width = sum(levels[stage].feat.shape[1] for stage in stages)
    if width != linear.in_features:
        raise InputError(
            f"The map takes {linear.in_features} channels, stages {_listed(stages)} of the encoder "
            f"that it was trained on; these stages have {width}."
        )


def _listed(stages: tuple[int, ...]) -> str:
    return ", ".join(map(str, stages))
