"""Points as text, one a line: XYZ, TXT, CSV; separated by spaces, tabs, commas or semicolons.

A first line may name the columns, also as a comment ("//X Y Z R G B"). Without one their number
says what they are: 3 are xyz; 4 xyz and intensity; 6 xyz and rgb, or normals; 7 xyz, rgb and
intensity in either order; 9 xyz, rgb and normals. Where there are more names than columns, or
fewer, it is an error. Comments begin with // or #.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TextIO

import numpy as np

from concerto.errors import InputError
from concerto.io.columns import Fields, find_columns, find_triple
from concerto.io.lines import COMMENTS, lines_of, without_comment

# How far a normal's length may be from 1, and how far where it might be a colour.
UNIT, EXACT_UNIT = 0.02, 1e-3
COORD = [0, 1, 2]
MARK = "\ufeff".encode().decode("latin-1")  # of UTF-8, before the first line


def read(path: Path) -> Fields:
    """Coordinates in float64, colours and normals; other columns are ignored."""
    # Latin-1 reads any bytes, one a character; what is not a number is found out below.
    with path.open(encoding="latin-1") as file:
        headers, first = _head(file)
        if first is None:
            raise InputError("There are no points in it.")
        separator = next((s for s in ";," if s in first), None)
        lines = itertools.chain([first], lines_of(file))
        named = _named(headers, separator, len(first.split(separator)))
        # Columns that have a name and no meaning may hold words.
        wanted = sorted(itertools.chain(*named.values())) or None
        values = np.loadtxt(lines, delimiter=separator, usecols=wanted, comments=None, ndmin=2)
    if wanted is None:
        places = _guess(values)
    else:
        places = {f: [wanted.index(c) for c in columns] for f, columns in named.items()}
    return {field: _pick(values, columns, field) for field, columns in places.items()}


def _pick(values: np.ndarray, columns: list[int], field: str) -> np.ndarray:
    """(N, 3): coordinates in float64, the others in float32."""
    if field == "coord" and columns == list(range(values.shape[1])):
        return values
    picked = np.empty((len(values), 3), np.float64 if field == "coord" else np.float32)
    for axis, column in enumerate(columns):
        picked[:, axis] = values[:, column]
    return picked


def _head(file: TextIO) -> tuple[list[str], str | None]:
    """The lines before the first point that name x, y and z, and that point."""
    headers: list[str] = []
    for line in lines_of(file, comments=True):
        text = line.removeprefix(MARK)
        is_comment = text.startswith(COMMENTS)
        if not is_comment:
            text = without_comment(text)
        words = _words(text)
        if not is_comment and len(words) > 1 and all(map(_is_number, words)):
            return headers, text
        if find_triple(words, "coord"):
            headers.append(text)
        elif not is_comment and not (len(words) == 1 and _is_number(words[0])):
            # Neither names nor the number of points, which some write first: a point and words.
            return headers, text
    return headers, None


def _named(headers: list[str], separator: str | None, width: int) -> dict[str, list[int]]:
    """Where the fields stand among the columns, by the last header that names each; {} by none.

    Raises InputError where there are headers and none fits, other than a comment on plain xyz.
    """
    for header in reversed(headers):
        # Names may have spaces in them; but not all write them as they write the points.
        parts = (header.lstrip("/#").split(s) for s in (separator, "\t"))
        for names in (*([_name(part) for part in some] for some in parts), _words(header)):
            if len(names) == width and find_triple(names, "coord"):
                return find_columns(names)
    if not headers or (width == len(COORD) and headers[-1].startswith(COMMENTS)):
        return {}
    raise InputError(
        f"Its points have {width} columns, and its header {headers[-1][:200]!r} names another "
        "number. Name each column once, separated as the points are, or remove the header."
    )


def _words(text: str) -> list[str]:
    return [_name(word) for word in text.lstrip("/#").replace(",", " ").replace(";", " ").split()]


def _name(text: str) -> str:
    return text.strip().strip('"')


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
    """Whether each, but for NaN, has length 1: to rounding, or nearly where one is negative.

    Where one is negative, which no colour is, zeros may stand for unknown normals. Where none is,
    they contradict, being black. A floor's 0 0 1 in every row could be pure blue, too, but a file
    of nothing but pure colours is far rarer than one of level normals.
    """
    length = np.linalg.norm(values, axis=1)
    unknown = np.isnan(length)
    if (values < 0).any():
        return bool(((np.abs(length - 1) < UNIT) | (length == 0) | unknown).all())
    unit = np.abs(length - 1) < EXACT_UNIT
    return bool(unit.any() and (unit | unknown).all())
