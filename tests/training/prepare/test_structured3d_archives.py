"""Structured3D's archives are read by several processes, damaged or not."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from concerto.training.prepare.in_order import in_order
from concerto.training.prepare.indoor.structured3d import _File
from concerto.training.scenes.sources import open_scenes
from made_downloads import structured3d_files
from prepare_command import prepare


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


def test_a_room_of_which_an_archives_bytes_are_damaged_is_named_and_may_be_left_out(
    tmp_path: Path,
) -> None:
    path, source = "Structured3D/scene_00000/2D_rendering/7/panorama/full/depth.png", tmp_path / "a"
    files = structured3d_files(0, "7") | structured3d_files(1, "8")
    source.mkdir()
    with zipfile.ZipFile(source / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        begin = archive.getinfo(path).header_offset + 30 + len(path)
    content = bytearray((source / "a.zip").read_bytes())
    content[begin : begin + 20] = b"\xff" * 20
    (source / "a.zip").write_bytes(content)
    common = ("structured3d", source, tmp_path / "out", "--splits", "train")
    wanted = f"Cannot read {path} of {source / 'a.zip'}: Error -3 while decompressing"
    assert wanted in prepare(*common, code=1)
    prepare(*common, "--skip-bad")
    assert [scene.name for scene in open_scenes(tmp_path / "out")] == ["scene_00001_room_8"]
