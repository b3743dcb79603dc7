"""Scans to encode, and the files of features that they became."""

from __future__ import annotations

from pathlib import Path

import concerto
from concerto.cli.encode_record import RECORD
from conftest import random_cloud


def write_scan(file: Path) -> Path:
    """One scan; returns its file."""
    concerto.write(file, random_cloud(800))
    return file


def write_folder(folder: Path) -> Path:
    """Five scans in a folder and one below it."""
    for number, name in enumerate(["a.ply", "b.npz", "below/a.pcd", "below/c.ply", "d.ply"]):
        concerto.write(folder / name, random_cloud(100 + number, seed=number))
    return folder


def files(folder: Path) -> list[str]:
    """All but what `encode` notes for itself."""
    found = (f for f in folder.rglob("*") if f.is_file() and f.name != RECORD)
    return sorted(str(f.relative_to(folder)) for f in found)
