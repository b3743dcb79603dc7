"""Thinning: one point of each cell of a grid, at random."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from concerto.grids import Groups, group_rows, keys_of


def one_a_cell(cells: Tensor, random: np.random.Generator) -> np.ndarray:
    """A random row of every cell, in the order of x, y, z. cells: (n, 3) int64, of each row."""
    return one_a_group(group_rows(keys_of(cells)), random)


def one_a_group(groups: Groups, random: np.random.Generator) -> np.ndarray:
    """A random row of every group, in the groups' order."""
    starts = groups.starts.numpy()
    counts = np.diff(starts, append=len(groups.order))
    chosen: np.ndarray = groups.order.numpy()[starts + random.integers(counts)]
    return chosen
