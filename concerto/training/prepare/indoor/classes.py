"""The classes that data sets are evaluated on: their numbers there, and names.

Each list is a file beside this one, a line a class, in the order in which results are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np

from concerto.errors import InputError

Known = Literal["scannet20", "scannet200", "s3dis13", "structured3d25"]


@dataclass(frozen=True)
class ClassList:
    """Classes in order. ids: (C,) the data set's own numbers."""

    names: tuple[str, ...]
    ids: np.ndarray

    def index(self, highest: int) -> np.ndarray:
        """(highest + 1,) int16: for each number of the data set the class, -1 where it is none."""
        table = np.full(highest + 1, -1, np.int16)
        within = self.ids <= highest
        table[self.ids[within]] = np.arange(len(self.ids), dtype=np.int16)[within]
        return table


@cache
def class_list(name: Known) -> ClassList:
    """One of the lists."""
    text = resources.files(__package__).joinpath("class_lists", f"{name}.tsv").read_text("utf-8")
    ids, names = zip(*(line.split("\t") for line in text.splitlines()), strict=True)
    return ClassList(names, np.array(ids, np.int64))


def classes_of(numbers: np.ndarray, table: np.ndarray, place: str) -> np.ndarray:
    """(n,) int16 classes of a data set's numbers (n,).

    table: as of `ClassList.index`. Raises InputError, with the place and the value, where a number
    is outside of it.
    """
    wrong = (numbers < 0) | (numbers >= len(table))
    if wrong.any():
        raise InputError(
            f"{place} has label {numbers[wrong][0]} at {np.count_nonzero(wrong)} of {len(numbers)} "
            f"points; labels are 0 to {len(table) - 1}."
        )
    return np.asarray(table[numbers])
