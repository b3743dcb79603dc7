"""What a folder of features notes of their making, so that none of another kind come in."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scan_folders import files, write_folder, write_scan

import concerto
from command import fail_here, run_here
from concerto.cli.encode_record import RECORD, Settings, settle
from conftest import GOLDEN, SMALL, random_cloud

HALF_OFF = Settings("golden", "0", (2, 3, 4), 1.0, 0.02, "float32", False, None, None, None, None)
HALF_ON = replace(HALF_OFF, half=True)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scans") / "room.ply")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "scans")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--model", "concerto-tiny"), "--model {golden}, now concerto-tiny"),
        (("--stages", "4"), "--stages 2 3 4, now 4"),
        (("--half",), "--half off, now on"),
        (
            ("--grid-size", "0.05", "--dtype", "bfloat16"),
            "--grid-size 0.02, now 0.05; --dtype float32, now bfloat16.",
        ),
        (("--color-range", "0", "2"), "--color-range by default, now 0.0 2.0"),
    ],
)
def test_features_made_otherwise_are_not_added_to_a_folder(
    scan: Path, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    other = tmp_path / "other.npz"
    concerto.write(other, random_cloud(300, seed=1))
    out = tmp_path / "out"
    run_here("encode", scan, "-o", out, "--model", GOLDEN)
    before = (out / "room.npz").read_bytes()
    advice = ("or pass --overwrite to encode these scans again", "1 that this run does not write")
    for given, advised in zip((scan, other), advice, strict=True):
        model = () if options[0] == "--model" else ("--model", GOLDEN)
        (error,) = fail_here("encode", given, "-o", out, *model, *options)
        assert f"{out} holds features made with {told.format(golden=GOLDEN).rstrip('.')}" in error
        assert advised in error
    assert files(out) == ["room.npz"]
    assert (out / "room.npz").read_bytes() == before


def test_weights_that_have_changed_under_their_name_are_told(scan: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        torch.manual_seed(seed)
        concerto.Concerto(SMALL).save_pretrained(tmp_path / f"model{seed}")
    out, model = ("-o", tmp_path / "out"), tmp_path / "model"
    (tmp_path / "model0").rename(model)
    run_here("encode", scan, *out, "--model", model)
    # The same weights by another name.
    shutil.copytree(model, tmp_path / "copy")
    assert (
        "1 of 1 scans are finished"
        in run_here("encode", scan, *out, "--model", tmp_path / "copy").stdout
    )
    shutil.rmtree(model)
    (tmp_path / "model1").rename(model)
    (error,) = fail_here("encode", scan, *out, "--model", model)
    assert f"features made with other weights of {model}." in error


def test_a_folder_taken_over_from_other_settings_keeps_none_of_their_features(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_here("encode", folder, "-o", out, "--model", GOLDEN)
    stale = (out / "b.npz").read_bytes()
    for file in files(out):
        os.utime(out / file, (1, 1))  # made long ago
    half = ("--model", GOLDEN, "--half")
    run_here("encode", folder, "-o", out, *half, "--overwrite")
    # As if that run had been cut off.
    (out / "b.npz").write_bytes(stale)
    os.utime(out / "b.npz", (1, 1))
    # A scan that comes to it meanwhile changes nothing in that.
    concerto.write(folder / "e.ply", random_cloud(50))
    run_here("encode", folder / "e.ply", "-o", out, *half)
    again = run_here("encode", folder, "-o", out, *half)
    assert "5 of 6 scans are finished already" in again.stdout
    assert np.load(out / "b.npz")["feat"].dtype == np.float16
    assert "6 of 6 scans are finished" in run_here("encode", folder, "-o", out, *half).stdout


def test_a_scan_that_fails_keeps_no_features_of_other_settings_where_a_folder_is_taken_over(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("encode", folder, "-o", out, "--model", GOLDEN)
    run_here(*options)
    scans = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    before = {file: (out / file).read_bytes() for file in [*files(out), RECORD]}
    for scan in scans:
        scan.write_bytes(b"none")
    said = run_here(*options, "--half", "--overwrite", code=1)
    # None was encoded, so that the folder is as it was.
    assert {file: (out / file).read_bytes() for file in [*files(out), RECORD]} == before
    assert "removed" not in said.stdout
    for scan in scans.keys() - {folder / "b.npz"}:
        scan.write_bytes(scans[scan])
    said = run_here(*options, "--half", "--overwrite", code=1)
    assert "1 of 5 scans failed" in said.stderr
    assert "removed the features, made otherwise, of 1 scans" in said.stdout
    assert files(out) == sorted(before.keys() - {"b.npz", RECORD})
    assert all(np.load(out / file)["feat"].dtype == np.float16 for file in files(out))


def test_features_without_a_record_are_taken_as_they_are(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_here("encode", folder, "-o", out, "--model", GOLDEN)
    (out / RECORD).unlink()
    (out / "b.npz").unlink()
    for half, done in (((), 4), (("--half",), 5)):
        said = run_here("encode", folder, "-o", out, "--model", GOLDEN, *half).stdout
        assert f"{done} of 5 scans are finished" in said
        assert not (out / RECORD).exists()
    run_here("encode", folder, "-o", out, "--model", GOLDEN, "--half", "--overwrite")
    assert "--half on, now off" in str(fail_here("encode", folder, "-o", out, "--model", GOLDEN))


def test_a_folder_without_features_takes_any_settings(scan: Path, tmp_path: Path) -> None:
    run_here("encode", scan, "-o", tmp_path, "--model", GOLDEN)
    (tmp_path / "room.npz").unlink()
    run_here("encode", scan, "-o", tmp_path, "--model", GOLDEN, "--half")
    assert np.load(tmp_path / "room.npz")["feat"].dtype == np.float16


@pytest.fixture
def unrelated(tmp_path: Path) -> Path:
    """A folder with files that end as features do, and are none."""
    out = tmp_path / "out"
    (out / ".hidden").mkdir(parents=True)
    np.save(out / "labels.npy", np.zeros(9, np.int64))
    np.save(out / "poses.npy", np.zeros((4, 4)))
    np.savez(out / "cameras.npz", coord=np.zeros((2, 3)))
    np.savez(out / ".hidden" / "room.npz", coord=np.zeros((2, 3)), feat=np.zeros((2, 72)))
    (out / "weights.safetensors").write_bytes(b"none")
    return out


def test_unrelated_files_do_not_keep_a_folder_from_its_record(scan: Path, unrelated: Path) -> None:
    options = ("encode", scan, "-o", unrelated, "--model", GOLDEN)
    run_here(*options)
    assert (unrelated / RECORD).exists()
    assert "--half off, now on" in str(fail_here(*options, "--half"))
    # Nor are they features that a record is still needed for, or that would stay.
    run_here(*options, "--half", "--overwrite")
    (unrelated / "room.npz").unlink()
    run_here(*options)
    assert np.load(unrelated / "room.npz")["feat"].dtype == np.float32


@pytest.mark.parametrize("format", ["npz", "npy", "safetensors"])
def test_a_folder_is_taken_over_from_other_settings_as_a_whole_or_not_at_all(
    folder: Path, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    options = ("-o", out, "--model", GOLDEN, "--format", format)
    run_here("encode", folder, *options)
    before = {file: (out / file).read_bytes() for file in [*files(out), RECORD]}
    # Of some of the scans, of none of them, and of all in other files.
    elsewhere = ("-o", out, "--model", GOLDEN, "--format", "npy" if format == "npz" else "npz")
    for scans, given, count in (
        ((folder / "a.ply", folder / "b.npz"), options, 3),
        ((folder / "below" / "c.ply",), options, 5),
        ((folder,), elsewhere, 5),
    ):
        (error,) = fail_here("encode", *scans, *given, "--half", "--overwrite")
        assert f"{out} holds features made with --half off, now on, and {count} that" in error
        assert {file: (out / file).read_bytes() for file in [*files(out), RECORD]} == before
    run_here("encode", folder, *options, "--half", "--overwrite")
    assert all((out / file).read_bytes() != before[file] for file in files(out))


def test_scans_and_folders_with_a_record_of_their_own_do_not_count_as_features(
    folder: Path,
) -> None:
    run_here("encode", folder / "d.ply", "-o", folder / "inside", "--model", GOLDEN)
    # Beside the scans, of which b.npz is one.
    options = ("encode", folder / "a.ply", "-o", folder, "--model", GOLDEN)
    run_here(*options)
    run_here(*options, "--half", "--overwrite")
    assert np.load(folder / "a.npz")["feat"].dtype == np.float16
    whole = ("encode", folder, "-o", folder / "below", "--model", GOLDEN)
    run_here(*whole)
    run_here(*whole, "--half", "--overwrite")
    assert "is a scan itself" in str(fail_here("encode", folder, "-o", folder))


def test_processes_take_a_folder_over_from_other_settings_together(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("encode", folder, "-o", tmp_path / "out", "--model", GOLDEN)
    run_here(*options)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        run_here(*options, "--half", "--overwrite")
    for file in files(tmp_path / "out"):
        assert np.load(tmp_path / "out" / file)["feat"].dtype == np.float16


@pytest.fixture
def shared(tmp_path: Path) -> dict[Path, Path]:
    """Scans a and b, and their features in a folder of other settings, all from an hour ago."""
    targets = {tmp_path / f"{name}.ply": tmp_path / "out" / f"{name}.npz" for name in "ab"}
    (tmp_path / "out").mkdir()
    long_ago = time.time() - 3600
    for scan in targets:
        scan.write_bytes(b"scan")
        os.utime(scan, (long_ago, long_ago))
    settle(tmp_path / "out", HALF_OFF, targets, overwrite=False).begin()
    for target in targets.values():
        target.write_bytes(b"off")
        os.utime(target, (long_ago, long_ago))
    return targets


def test_processes_that_take_a_folder_over_at_once_know_each_others_features(
    shared: dict[Path, Path],
) -> None:
    a, b = shared.values()
    one, other = (settle(a.parent, HALF_ON, shared, overwrite=True) for _ in range(2))
    one.begin()
    a.write_bytes(b"on")
    later = time.time() + 60
    other.begin()
    # As where loading a model lies between the two.
    os.utime(a.parent / RECORD, (later, later))
    b.write_bytes(b"on")
    os.utime(b, (later, later))
    assert settle(a.parent, HALF_ON, shared, overwrite=False).files == {a, b}


def test_features_of_other_settings_go_where_their_scan_has_changed_and_fails(
    shared: dict[Path, Path],
) -> None:
    a, b = shared.values()
    one = settle(a.parent, HALF_ON, shared, overwrite=True)
    one.begin()
    next(scan for scan, target in shared.items() if target == b).write_bytes(b"another scan")
    a.write_bytes(b"on")
    other = settle(a.parent, HALF_ON, shared, overwrite=True)
    other.begin()
    assert other.remove_outdated([b]) == 1
    assert not b.exists()
    assert a.exists()


def test_a_folder_gets_no_record_while_features_without_one_stay(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("-o", out, "--model", GOLDEN)
    run_here("encode", folder, *options)
    (out / RECORD).unlink()
    run_here("encode", folder / "a.ply", *options, "--half", "--overwrite")
    assert not (out / RECORD).exists()
    assert np.load(out / "a.npz")["feat"].dtype == np.float16
    run_here("encode", folder, *options, "--overwrite")
    assert (out / RECORD).exists()


def test_a_record_that_cannot_be_read_is_told_and_can_be_overwritten(
    scan: Path, tmp_path: Path
) -> None:
    options = ("encode", scan, "-o", tmp_path, "--model", GOLDEN)
    run_here(*options)
    (tmp_path / RECORD).write_text("{")
    assert f"cannot be read from {RECORD}" in str(fail_here(*options))
    run_here(*options, "--overwrite")
    assert "1 of 1 scans are finished" in run_here(*options).stdout
