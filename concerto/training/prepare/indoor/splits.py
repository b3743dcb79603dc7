"""Official splits: lists of scenes in text files, one a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from concerto.errors import InputError
from concerto.io.pictures import read_bytes


def read_splits(folders: Sequence[Path], files: dict[str, str], where: str) -> dict[str, list[str]]:
    """The scenes of each split, in the order of its list.

    folders: where the lists may lie; the first that has one is taken. files: the name of the list
    of each split. where: what to do where one is missing, a sentence.

    Raises InputError where a list is missing or empty, or two share a scene.
    """
    splits: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    for split, name in files.items():
        file = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if file is None:
            places = " or ".join(str(folder) for folder in folders)
            raise InputError(f"There is no {name} in {places}. {where}")
        splits[split] = read_bytes(file).decode("utf-8", errors="replace").split()
        if not splits[split]:
            raise InputError(f"The split {split} is empty: {file} lists no scenes.")
        for scene in splits[split]:
            if seen.setdefault(scene, split) != split:
                raise InputError(f"{scene} is in two splits: {seen[scene]} and {split}.")
    return splits
