"""Folders are read as people lay them out: links, hidden files, and loops."""

from __future__ import annotations

from pathlib import Path

from concerto.folders import files_in, natural


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def test_files_below_a_folder_are_found_sorted_but_not_hidden_ones(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("b.ply", "a/z.PLY", "a/c.txt", ".d.ply", ".e/f.ply")))
    (tmp_path / "folder.ply").mkdir()
    assert files_in(tmp_path, {".ply"}) == [tmp_path / "a/z.PLY", tmp_path / "b.ply"]


def test_linked_folders_are_entered_once_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere/scan.ply", tmp_path / "scans/own.ply")
    scans = tmp_path / "scans"
    (scans / "linked").symlink_to(tmp_path / "elsewhere")
    (scans / "twice").symlink_to(tmp_path / "elsewhere")
    (scans / "loop").symlink_to(scans)
    (scans / "gone.ply").symlink_to(tmp_path / "nothing.ply")
    assert files_in(scans, {".ply"}) == [scans / "linked/scan.ply", scans / "own.ply"]


def test_names_sort_by_the_numbers_in_them_whatever_else_they_hold() -> None:
    names = ["a", "a2.gz", "a2b10", "a10.gz", "a1²3"]
    assert sorted(names, key=natural) == ["a", "a1²3", "a2.gz", "a2b10", "a10.gz"]
