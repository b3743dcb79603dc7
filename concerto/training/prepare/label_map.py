"""Which numbers in scans mean which class: a small file, text or JSON.

Text has a line a number, `2 ground`; JSON is an object, `{"2": "ground"}`. Several numbers may have
one name. A number without a name, or null, has no class.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io.pictures import read_bytes
from concerto.training.scenes.whole_numbers import whole_numbers

MOST_TOLD = 20


@dataclass(frozen=True)
class LabelMap:
    """classes: their names, in the order of the file. class_of: the class of each number, or -1."""

    file: Path
    classes: tuple[str, ...]
    class_of: dict[int, int]

    def apply(self, values: NDArray[np.generic], place: str) -> NDArray[np.int16]:
        """(n,) classes of numbers (n,). Negative ones that are not in the map, and NaN, have none.

        place: where they are from, for messages. Raises InputError, with the place and the value,
        where a number is not in the map.
        """
        found, at = np.unique(whole_numbers(values, place), return_inverse=True)
        unknown = [value for value in found.tolist() if value >= 0 and value not in self.class_of]
        if unknown:
            count = int(np.isin(found[at], unknown).sum())
            raise InputError(
                f"{place} has label {unknown[0]} at {count} of {len(values)} points "
                f"({_told(unknown)}), and {self.file} has no such number. Give it a name there, or "
                "a line without a name where it means no class."
            )
        table = np.array([self.class_of.get(value, -1) for value in found.tolist()], np.int16)
        return np.asarray(table[at.reshape(-1)])


def read_label_map(file: Path) -> LabelMap:
    """Read a map. Raises InputError where it cannot be read, or names no class."""
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8: {error}. Save it as UTF-8.") from error
    pairs = _json_pairs(file, text) if file.suffix.lower() == ".json" else _text_pairs(file, text)
    classes = tuple(dict.fromkeys(name for _, name in pairs if name))
    if not classes:
        raise InputError(f"{file} names no class. Write a line a number, such as: 2 ground")
    class_of: dict[int, int] = {}
    for number, name in pairs:
        label = classes.index(name) if name else -1
        if class_of.setdefault(number, label) != label:
            raise InputError(f"{file} gives {number} two names.")
    return LabelMap(file, classes, class_of)


def ask_for_map(values: NDArray[np.generic], place: str) -> InputError:
    """The error where no map is given: it says which numbers there are, and what to write."""
    found = np.unique(whole_numbers(values, place)).tolist()
    first = next((value for value in found if value >= 0), 0)
    return InputError(
        f"{place} has labels {_told(found)}. What do they mean? Pass label_map=FILE, a text file "
        f'with a line a number, such as "{first} ground".'
    )


def _text_pairs(file: Path, text: str) -> list[tuple[int, str]]:
    pairs = []
    for line in text.splitlines():
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        if not words[0].removeprefix("-").isdecimal():
            raise InputError(f"{file} has a line {line!r}; expected a number and a name: 2 ground")
        pairs.append((int(words[0]), " ".join(words[1:])))
    return pairs


def _json_pairs(file: Path, text: str) -> list[tuple[int, str]]:
    try:
        content = json.loads(text)
        return [(int(number), str(name or "")) for number, name in content.items()]
    except (ValueError, AttributeError) as error:
        raise InputError(
            f'{file} is no map of labels: {error}. Expected {{"2": "ground", …}}.'
        ) from error


def _told(values: list[int]) -> str:
    more = ", …" if len(values) > MOST_TOLD else ""
    return ", ".join(map(str, values[:MOST_TOLD])) + more
