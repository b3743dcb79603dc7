"""Points as text, one a line: XYZ, TXT, CSV; separated by spaces, tabs, commas or semicolons.

A first line may name the columns, also as a comment ("//X Y Z R G B"). Without one their number
says what they are: 3 are xyz; 4 xyz and intensity; 6 xyz and rgb, or normals; 7 xyz, rgb and
intensity in either order; 9 xyz, rgb and normals. Comments begin with // or #.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from concerto.errors import InputError
from concerto.io.columns import Fields, find_columns, find_triple

COMMENTS = ("//", "#")
LONGEST_LINE = 10_000
UNIT = 0.02  # how far a normal's length may be from 1
COORD = [0, 1, 2]


def read(path: Path) -> Fields:
    """Coordinates in float64, colours and normals; other columns are ignored."""
    # Latin-1 reads any bytes, one a character; what is not a number is found out below.
    with path.open(encoding="latin-1") as file:
        names, first = _head(file)
        if first is None:
            raise InputError("There are no points in it.")
        separator = next((s for s in ";," if s in first), None)
        lines = itertools.chain([first], _lines(file))
        width = len(first.split(separator))
        places = find_columns(names) if len(names) == width else None
        # Columns that have a name and no meaning may hold words.
        wanted = sorted(itertools.chain(*places.values())) if places else None
        values = np.loadtxt(lines, delimiter=separator, usecols=wanted, comments=None, ndmin=2)
    if places is None or wanted is None:
        places = _guess(values)
        return {field: values[:, columns] for field, columns in places.items()}
    return {
        field: values[:, [wanted.index(column) for column in columns]]
        for field, columns in places.items()
    }


def _head(file: TextIO) -> tuple[list[str], str | None]:
    """The names of the columns, where a line before the first point has them, and that point."""
    names: list[str] = []
    for line in _lines(file, comments=True):
        text = line.removeprefix("\ufeff".encode().decode("latin-1"))
        is_comment = text.startswith(COMMENTS)
        words = text.lstrip("/#").replace(",", " ").replace(";", " ").split()
        if not is_comment and all(map(_is_number, words)) and len(words) > 1:
            return names, text
        if find_triple([word.strip('"') for word in words], "coord"):
            names = [word.strip('"') for word in words]
        elif not is_comment and not (len(words) == 1 and _is_number(words[0])):
            # Neither names nor the number of points, which some write first.
            return names, text
    return names, None


def _lines(file: TextIO, comments: bool = False) -> Iterator[str]:
    """The lines that are not blank; without comments, unless they are wanted."""
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise InputError(f"It has a line of {LONGEST_LINE:,} characters or more.")
        if not comments:
            for mark in COMMENTS:
                line = line.partition(mark)[0]
        if line := line.strip():
            yield line


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _guess(values: np.ndarray) -> dict[str, list[int]]:
    """What the columns are, by their number and values.

    Raises InputError where that leaves a doubt.
    """
    width = values.shape[1]
    found = {"coord": COORD}
    if width in (3, 4):
        return found
    if width == 6:
        return found | {"normal" if _are_normals(values[:, 3:]) else "color": [3, 4, 5]}
    if width == 9:
        return found | {"color": [3, 4, 5], "normal": [6, 7, 8]}
    if width == 7:
        before, after = _are_colors(values[:, 4:]), _are_colors(values[:, 3:6])
        if before != after:
            return found | {"color": [4, 5, 6] if before else [3, 4, 5]}
        which = "intensity red green blue, or red green blue intensity"
    else:
        which = "for instance red green blue nx ny nz"
    raise InputError(
        f"It has {width} columns, and nothing says what they are. Put their names in a first "
        f"line: x y z {which}."
    )


def _are_colors(values: np.ndarray) -> bool:
    """Whether all are 0-1, or integers to 255."""
    low, high = values.min(), values.max()
    return bool(low >= 0 and (high <= 1 or (high <= 255 and (values == np.floor(values)).all())))


def _are_normals(values: np.ndarray) -> bool:
    """Whether one is negative and each, but for NaN and zeros, has length 1."""
    length = np.linalg.norm(values, axis=1)
    unit = np.abs(length - 1) < UNIT
    return bool((values < 0).any() and (unit | (length == 0) | np.isnan(length)).all())
