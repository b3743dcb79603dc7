"""`concerto encode`, as people run it on one scan and on many."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import concerto
from command import GOLDEN, fail_here, run, run_here
from concerto.cli.encode import encode
from concerto.cli.encode_record import RECORD
from conftest import SMALL, random_cloud


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("scans") / "room.ply"
    concerto.write(file, random_cloud(800))
    return file


def test_encode_writes_the_features_that_the_library_gives(scan: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    concerto.write(other, random_cloud(300, seed=1))
    out = tmp_path / "features"
    process = run_here("encode", scan, other, "-o", out, "--model", GOLDEN)
    assert process.stdout.split() == [
        *(str(out / "room.npz"), "800", "x", "72"),
        *(str(out / "other.npz"), "300", "x", "72"),
    ]
    model = concerto.from_pretrained(GOLDEN)
    for file in (scan, other):
        with np.load(out / f"{file.stem}.npz") as written:
            assert np.array_equal(written["coord"], concerto.read(file).coord.numpy())
            wanted = model.encode(concerto.read(file))
            assert np.allclose(written["feat"], wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_encode_takes_the_options_of_the_model(scan: Path, tmp_path: Path) -> None:
    options = [
        "--model",
        GOLDEN,
        "--stages",
        "3",
        "4",
        "--dtype",
        "bfloat16",
        "--grid-size",
        "0.05",
    ]
    run_here("encode", scan, "-o", tmp_path, *options, "--scale", "1.5", "--max-memory", "1GiB")
    model = concerto.from_pretrained(GOLDEN, dtype="bfloat16")
    wanted = model.encode(concerto.read(scan), stages=(3, 4), grid_size=0.05, scale=1.5)
    with np.load(tmp_path / "room.npz") as written:
        assert written["feat"].dtype == np.float32
        assert np.allclose(written["feat"], wanted.float().numpy(), rtol=1e-2, atol=1e-2)


def test_normals_are_estimated_on_request_where_there_are_none(tmp_path: Path) -> None:
    cloud = random_cloud(300)
    bare = concerto.PointCloud(cloud.coord)
    concerto.write(tmp_path / "bare.npz", bare)
    concerto.write(tmp_path / "whole.npz", cloud)
    options = ["-o", tmp_path / "out", "--model", GOLDEN, "--normals", 12, "--viewpoint", 1, 2, 3]
    run_here("encode", tmp_path / "bare.npz", tmp_path / "whole.npz", *options)
    model = concerto.from_pretrained(GOLDEN)
    estimated = concerto.estimate_normals(bare, k=12, viewpoint=(1, 2, 3))
    for name, wanted in (("bare", estimated), ("whole", cloud)):
        with np.load(tmp_path / "out" / f"{name}.npz") as written:
            assert np.allclose(written["feat"], model.encode(wanted).numpy(), rtol=1e-4, atol=1e-4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five scans in a folder and one below it."""
    for number, name in enumerate(["a.ply", "b.npz", "below/a.pcd", "below/c.ply", "d.ply"]):
        concerto.write(tmp_path / "scans" / name, random_cloud(100 + number, seed=number))
    return tmp_path / "scans"


def files(folder: Path) -> list[str]:
    """All but what `encode` notes for itself."""
    found = (f for f in folder.rglob("*") if f.is_file() and f.name != RECORD)
    return sorted(str(f.relative_to(folder)) for f in found)


def test_a_folder_is_its_scans_and_keeps_its_structure(folder: Path, tmp_path: Path) -> None:
    run_here("encode", folder, "-o", tmp_path / "out", "--model", GOLDEN)
    wanted = ["a.npz", "b.npz", "below/a.npz", "below/c.npz", "d.npz"]
    assert files(tmp_path / "out") == wanted


@pytest.mark.parametrize("format", ["npz", "npy", "safetensors"])
def test_every_format_holds_the_same_in_float32_or_half(
    scan: Path, tmp_path: Path, format: str
) -> None:
    for half in (False, True):
        out = tmp_path / str(half)
        options = ["--half"] if half else []
        run_here("encode", scan, "-o", out, "--model", GOLDEN, "--format", format, *options)
        file = out / f"room.{format}"
        loaded = load_file(file) if format == "safetensors" else np.load(file)
        feat = loaded if format == "npy" else loaded["feat"]
        assert feat.dtype == (np.float16 if half else np.float32)
        wanted = concerto.from_pretrained(GOLDEN).encode(concerto.read(scan)).numpy()
        assert np.allclose(feat, wanted, rtol=2e-3, atol=1e-2 if half else 1e-4)
        if format != "npy":
            assert np.array_equal(loaded["coord"], concerto.read(scan).coord.numpy())


def test_what_is_finished_is_passed_over_unless_told(folder: Path, tmp_path: Path) -> None:
    out = folder / "features"  # inside the folder of scans: what is written is not read again
    run_here("encode", folder, "-o", out, "--model", GOLDEN)
    (out / "b.npz").unlink()
    before = {file: (out / file).stat().st_mtime_ns for file in files(out)}
    again = run_here("encode", folder, "-o", out, "--model", GOLDEN)
    assert "4 of 5 scans are finished already" in again.stdout
    assert [f for f in files(out) if (out / f).stat().st_mtime_ns != before.get(f)] == ["b.npz"]
    run_here("encode", folder, "-o", out, "--model", GOLDEN, "--overwrite")
    assert all((out / file).stat().st_mtime_ns != before.get(file) for file in files(out))


def test_a_bad_scan_is_passed_over_and_told_at_the_end(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.ply").write_bytes(b"ply")
    holes = random_cloud(50)
    holes.coord[3] = np.nan
    concerto.write(folder / "holes.npz", holes)
    process = run_here("encode", folder, "-o", tmp_path / "out", "--model", GOLDEN, code=1)
    assert len(files(tmp_path / "out")) == 5
    assert "error: 2 of 7 scans failed:" in process.stderr
    assert process.stderr.count(str(folder / "bad.ply")) == 1
    assert "first at index 3" in process.stderr


def test_more_workers_than_scans_change_nothing(folder: Path, tmp_path: Path) -> None:
    run_here("encode", folder, "-o", tmp_path / "out", "--model", GOLDEN, "--workers", "16")
    assert len(files(tmp_path / "out")) == 5


def test_processes_of_a_launcher_share_the_scans_out(folder: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    launch = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    options = ("--redirects", "3", "--log_dir", str(logs))
    run(
        "encode", folder, "-o", tmp_path / "out", "--model", GOLDEN,
        through=("-m", *launch, *options), OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert len(files(tmp_path / "out")) == 5
    told = [log.read_text().count(" x 72") for log in sorted(logs.rglob("stdout.log"))]
    assert told == [3, 2]


def test_a_process_takes_every_nth_scan(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    out = tmp_path / "out"
    run_here("encode", folder, "-o", out, "--model", GOLDEN)
    assert files(out) == ["b.npz", "d.npz"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "x"}, "RANK is 'x'; it must be a number"),
        ({"RANK": "0", "WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2'; it must be a number"),
        ({"RANK": "3", "WORLD_SIZE": "3"}, "process 3, from 0, of 3: set both RANK and WORLD_SIZE"),
        ({"RANK": "1"}, "process 1, from 0, of 1"),
        ({"WORLD_SIZE": "0"}, "process 0, from 0, of 0"),
    ],
)
def test_an_environment_that_no_launcher_sets_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    for variable in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(concerto.InputError, match=message):
        encode((tmp_path / "scan.ply",), output=tmp_path / "out")


def test_a_place_that_cannot_be_written_is_told_before_any_work(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = run_here("encode", scan, "-o", tmp_path / "file" / "out", code=1)
    assert process.stderr.startswith("error: Cannot write to ")


def test_all_stages_and_a_colour_range_can_be_asked_for(tmp_path: Path) -> None:
    doubtful = tmp_path / "doubtful.npz"
    np.savez(doubtful, coord=np.random.default_rng(0).random((99, 3)), color=np.full((99, 3), 1.5))
    options = ["-o", tmp_path / "out", "--model", GOLDEN, "--stages", "all"]
    assert "--color-range 0 255" in run_here("encode", doubtful, *options, code=1).stderr
    run_here("encode", doubtful, *options, "--color-range", "0", "2")
    assert np.load(tmp_path / "out" / "doubtful.npz")["feat"].shape == (99, 96)


def test_advice_names_the_scan_and_speaks_of_flags(tmp_path: Path) -> None:
    concerto.write(tmp_path / "scans" / "cup.npz", random_cloud(3000, extent=0.3))
    concerto.write(tmp_path / "scans" / "room.npz", random_cloud(3000, extent=3))
    told = run_here("encode", tmp_path / "scans", "-o", tmp_path / "out", "--model", GOLDEN).stderr
    assert f"warning: {tmp_path / 'scans' / 'cup.npz'}: The scene spans" in told
    assert "such as --scale " in told


@pytest.mark.parametrize("workers", [1, 3])
def test_a_warning_of_reading_ahead_names_its_own_scan(tmp_path: Path, workers: int) -> None:
    scans = []
    for number in range(1, 7):
        cloud = random_cloud(100 + number, seed=number)
        normal = cloud.normal.numpy().copy()
        normal[:number] = np.nan
        scans.append(tmp_path / f"{number}.npz")
        np.savez(scans[-1], coord=cloud.coord.numpy(), normal=normal)
    np.savez(tmp_path / "7.npz", coord=np.full((50, 3), np.nan), normal=np.full((50, 3), np.nan))
    out = ["-o", tmp_path / "out", "--model", GOLDEN, "--workers", workers]
    told = run_here("encode", *scans, tmp_path / "7.npz", *out, code=1).stderr
    for number, scan in enumerate(scans, 1):
        assert f"warning: {scan}: {number} of {100 + number} normals are NaN" in told
    assert f"warning: {tmp_path / '7.npz'}: 50 of 50 normals are NaN" in told
    assert told.count("normals are NaN") == 7


def test_what_is_true_of_every_scan_is_told_once(tmp_path: Path) -> None:
    for number in range(3):
        sweep = np.random.default_rng(number).random((103, 4)).astype(np.float32) + 1
        (tmp_path / f"{number}.bin").write_bytes(sweep.tobytes())
    told = run_here("encode", tmp_path, "-o", tmp_path / "out", "--model", GOLDEN).stderr
    assert told.count("Reflectance is not a colour") == 1
    assert f"warning: {tmp_path / '0.bin'}: Reflectance" in told


def test_a_bad_option_is_told_once_and_before_any_scan(folder: Path, tmp_path: Path) -> None:
    for options in (
        "--stages 9",
        "--scale -1",
        "--max-memory junk",
        "--color-range 255 0",
        "--normals 2",
    ):
        out = ["-o", tmp_path / "out", "--model", GOLDEN]
        said = "\n".join(fail_here("encode", folder, *out, *options.split()))
        assert said.count("error: ") == 1
        assert "scans failed" not in said


def test_each_scan_with_a_problem_is_named(tmp_path: Path) -> None:
    for number in range(3):
        cup = random_cloud(3000, seed=number, extent=0.3 + 0.1 * number)
        concerto.write(tmp_path / "scans" / f"{number}.npz", cup)
    told = run_here("encode", tmp_path / "scans", "-o", tmp_path / "out", "--model", GOLDEN).stderr
    for number in range(3):
        assert f"warning: {tmp_path / 'scans' / str(number)}.npz: The scene spans" in told


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
    again = run_here("encode", folder, "-o", out, *half)
    assert "4 of 5 scans are finished already" in again.stdout
    assert np.load(out / "b.npz")["feat"].dtype == np.float16
    assert "5 of 5 scans are finished" in run_here("encode", folder, "-o", out, *half).stdout


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
