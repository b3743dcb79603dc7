"""The classes that data sets are evaluated on: their numbers there, names, and colours.

Each list is a file beside this one, a line a class, in the order in which results are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np

from concerto.errors import InputError

Known = Literal["scannet20", "scannet200", "s3dis13", "structured3d25"]
KNOWN: tuple[Known, ...] = ("scannet20", "scannet200", "s3dis13", "structured3d25")


@dataclass(frozen=True)
class ClassList:
    """Classes in order. ids: (C,) the data set's own numbers. colors: (C, 3) uint8."""

    names: tuple[str, ...]
    ids: np.ndarray
    colors: np.ndarray

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
    ids, names, colors = zip(*(line.split("\t") for line in text.splitlines()), strict=True)
    rgb = [[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors]
    return ClassList(names, np.array(ids, np.int64), np.array(rgb, np.uint8))


def known_colors(names: Sequence[str]) -> np.ndarray | None:
    """(C, 3) uint8: the colours that such classes have in their data set, where it is known."""
    lists: Iterable[ClassList] = map(class_list, KNOWN)
    return next((one.colors.copy() for one in lists if one.names == tuple(names)), None)


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
