"""Structured3D's archives are read by several processes, damaged or not."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from concerto.training.prepare.in_order import in_order
from concerto.training.prepare.indoor.structured3d import _File


def test_processes_do_not_move_each_others_place_in_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[zipfile.ZipFile] = []

    class Recorded(zipfile.ZipFile):
        def __init__(self, file: Path, *options: object) -> None:
            super().__init__(file, *options)
            opened.append(self)

    def places() -> list[int]:
        return [os.lseek(one.fp.fileno(), 0, os.SEEK_CUR) for one in opened if one.fp is not None]

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(8):
            archive.writestr(f"{number}.png", bytes([number]) * 100_000)
    monkeypatch.setattr(zipfile, "ZipFile", Recorded)
    files = [_File(f"{number}.png", tmp_path / "a.zip") for number in range(8)]
    # As for a split of one room: the processes of the next split are forked from this one.
    files[0].read()
    before = places()
    contents = list(in_order(_File.read, files[1:], 2))
    assert contents == [bytes([number]) * 100_000 for number in range(1, 8)]
    assert places() == before
