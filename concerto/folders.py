"""What a user means by the files of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files of a folder and the folders in it that end so, sorted; hidden ones are left out.

    Links are followed, and a folder that several lead to counts once. suffixes: in lower case.
    """
    found: list[Path] = []
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        true_place = os.path.realpath(place)
        if true_place in entered:
            folders.clear()
            continue
        entered.add(true_place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = (Path(place, name) for name in names if not name.startswith("."))
        found += [file for file in files if file.suffix.lower() in suffixes and file.is_file()]
    return sorted(found)


def natural(name: str) -> list[tuple[int, str]]:
    """What to sort names by, so that 10 comes after 9: digits compare as numbers, between text."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
