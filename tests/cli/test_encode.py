"""`concerto encode`, as people run it on one scan and on many."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scan_folders import files, write_folder, write_scan

import concerto
from command import fail_here, run, run_here, run_unread
from concerto.cli.encode import encode
from conftest import GOLDEN, random_cloud


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scans") / "room.ply")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "scans")


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


def test_a_folder_is_its_scans_and_keeps_its_structure(folder: Path, tmp_path: Path) -> None:
    run_here("encode", folder, "-o", tmp_path / "out", "--model", GOLDEN)
    wanted = ["a.npz", "b.npz", "below/a.npz", "below/c.npz", "d.npz"]
    assert files(tmp_path / "out") == wanted


def test_files_of_a_folder_that_may_be_scans_and_are_left_out_are_counted(
    folder: Path,
) -> None:
    (folder / "below" / "c.csv").write_text("1 2 3\n")
    (folder / "poses.txt").write_text("1 2 3\n")
    options = ("-o", folder / "out", "--model", GOLDEN, "--format", "npy")
    for _ in range(2):  # the second time with features in the folder
        told = run_here("encode", folder, folder / "poses.txt", *options).stderr
        assert f"warning: Left out of {folder}: 1 that end in .txt, .csv, .npy, such as" in told
        assert told.count("warning") == 1
    # Features of an earlier run are no scans, of whatever format.
    other = ("-o", folder / "out", "--model", GOLDEN, "--format", "npz")
    told = run_here("encode", folder, folder / "poses.txt", *other).stderr
    assert f"Left out of {folder}: 1 that end in" in told
    assert told.count("warning") == 1


def test_files_of_a_folder_that_look_like_features_are_counted_or_refused_where_they_are_all(
    folder: Path, tmp_path: Path
) -> None:
    alike = folder / "alike" / "room.npz"
    alike.parent.mkdir()
    np.savez(alike, coord=random_cloud(50).coord.numpy(), feat=np.zeros((50, 9), np.float32))
    options = ("-o", tmp_path / "out", "--model", GOLDEN)
    told = run_here("encode", folder, *options).stderr
    assert f"Left out of {folder}: 1 that hold features, coord and feat alone, such as" in told
    (error,) = fail_here("encode", alike.parent, *options)
    assert f"There are only features, coord and feat alone, in {alike.parent}. Name one" in error
    run_here("encode", alike, *options)
    assert (tmp_path / "out" / "room.npz").exists()


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


def test_a_scan_that_is_written_has_not_failed_where_nobody_reads_what_is_printed(
    folder: Path, tmp_path: Path
) -> None:
    told = run_unread("encode", folder, "-o", tmp_path / "out", "--model", GOLDEN)
    assert "failed" not in told
    assert "Traceback" not in told
    assert files(tmp_path / "out") == ["a.npz"]


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
