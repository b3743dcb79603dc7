"""`concerto encode` takes no other scan's features for a scan's."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scan_folders import write_folder

import concerto
from command import run_here
from concerto.cli.encode_record import RECORD
from conftest import GOLDEN, random_cloud

HOUR = 3600 * 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "scans")


def test_a_scan_that_was_written_anew_is_encoded_again(tmp_path: Path) -> None:
    scan, options = tmp_path / "room.ply", ("-o", tmp_path / "out", "--model", GOLDEN)
    for number, points in enumerate((300, 400, 500)):
        concerto.write(scan, random_cloud(points, seed=number))
        # Newer than the features; then older, as a copy that keeps its time.
        time = scan.stat().st_mtime_ns + (HOUR, HOUR, -HOUR)[number]
        os.utime(scan, ns=(time, time))
        said = run_here("encode", scan, *options).stdout
        assert ("1 of 1 scans have changed" in said) == (number > 0)
        assert len(np.load(tmp_path / "out" / "room.npz")["feat"]) == points
        # Whatever the clocks of the two file systems say.
        assert "1 of 1 scans are finished" in run_here("encode", scan, *options).stdout


def test_another_scan_of_the_name_is_encoded_and_the_same_one_elsewhere_is_not(
    tmp_path: Path,
) -> None:
    for number, name in enumerate("ab"):
        concerto.write(tmp_path / name / "room.ply", random_cloud(100 + number, seed=number))
        os.utime(tmp_path / name / "room.ply", (number + 1, number + 1))  # both made long ago
    options = ("-o", tmp_path / "out", "--model", GOLDEN)
    for number, name in enumerate("aba"):
        said = run_here("encode", tmp_path / name / "room.ply", *options).stdout
        assert ("1 of 1 scans have changed" in said) == (number > 0)
        with np.load(tmp_path / "out" / "room.npz") as written:
            assert len(written["feat"]) == 100 + (name == "b")
    (tmp_path / "a").rename(tmp_path / "c")
    said = run_here("encode", tmp_path / "c" / "room.ply", *options).stdout
    assert "1 of 1 scans are finished" in said


def test_changed_scans_stay_unfinished_until_they_are_encoded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    options = ("encode", folder, "-o", out, "--model", GOLDEN)
    run_here(*options)
    for file in ("a.ply", "b.npz"):
        concerto.write(folder / file, random_cloud(99, seed=9))
        os.utime(folder / file, (1, 1))
    # Of two processes the first encodes its own, and notes what all of them found.
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert "1 of " in run_here(*options).stdout
        assert len(np.load(out / "a.npz")["feat"]) == 99
        assert (len(np.load(out / "b.npz")["feat"]) == 99) == (rank == "1")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert "5 of 5 scans are finished" in run_here(*options).stdout


def test_of_features_that_an_older_version_left_those_older_than_their_scans_are_unfinished(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("encode", folder, "-o", out, "--model", GOLDEN)
    run_here(*options)
    record = json.loads((out / RECORD).read_text())
    del record["scans"]
    for changed in ("a.npz", "b.npz"):
        os.utime(out / changed, (1, 1))
        if changed == "a.npz":
            (out / RECORD).write_text(json.dumps(record))
        else:
            (out / RECORD).unlink()
        said = run_here(*options).stdout
        assert "4 of 5 scans are finished already" in said
        assert "1 of 5 scans have changed" in said
    assert not (out / RECORD).exists()
