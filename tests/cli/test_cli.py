"""The command line, in processes of its own and in the tests'."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import concerto
from command import ROOM, fail_here, run, run_here, run_unread
from concerto import command_line
from conftest import GOLDEN, SMALL, random_cloud


def test_the_packaged_room_and_model_make_every_kind_of_picture(tmp_path: Path) -> None:
    for suffix, in_some_process in (("png", run), ("html", run_here), ("ply", run_here)):
        file = tmp_path / f"room.{suffix}"
        process = in_some_process("pca", ROOM, "-o", file)
        assert process.stdout.strip() == str(file)
        assert "warning" not in process.stderr
    with Image.open(tmp_path / "room.png") as picture:
        assert len(picture.convert("RGB").getcolors(10**7)) > 1000
    assert "<canvas" in (tmp_path / "room.html").read_text()
    cloud, room = concerto.read(tmp_path / "room.ply"), concerto.read(ROOM)
    assert torch.equal(cloud.coord, room.coord)
    assert cloud.color.std() > 0.1


def test_similar_is_brightest_at_the_point_and_names_it(tmp_path: Path) -> None:
    sofa = tmp_path / "sofa.ply"
    process = run_here("similar", ROOM, "--point", "0.6", "2.1", "0.5", "-o", sofa)
    assert process.stdout.startswith(f"{sofa}  around 0.6")
    cloud, room = concerto.read(sofa), concerto.read(ROOM)
    brightness = cloud.color.sum(1)
    nearest = (room.coord - torch.tensor([0.6, 2.1, 0.5])).norm(dim=1).argmin()
    assert brightness[nearest] == brightness.max()
    assert brightness.median() < brightness.max()


def test_debug_shows_where_an_error_came_from() -> None:
    process = run("info", "none.ply", "--debug", code=1, traceback=True)
    assert "concerto.errors.InputError: Cannot read none.ply" in process.stderr


def test_completions_for_a_shell_are_written(tmp_path: Path) -> None:
    run_here("--tyro-write-completion", "bash", tmp_path / "completion")
    assert "encode" in (tmp_path / "completion").read_text()


def test_models_lists_every_name() -> None:
    listed = run_here("models").stdout
    assert all(f"{name} " in listed for name in concerto.list_models())


@pytest.mark.parametrize(
    ("subject", "lines"),
    [
        ("concerto-large-outdoor", ["centre      xy", "licence     cc-by-nc-4.0"]),
        ("concerto-large-clip", ["nobody has published"]),
        ("concerto-tiny", ["features    544 (stages 0, 1, 2, 3, 4)"]),
        ("concerto-tiny-words", ["text tower  minilm", "maps to     384 dimensions"]),
        (GOLDEN, ["parameters  169,008", "stored as   float32"]),
        (ROOM, ["points          114,330", "colours         yes", "normals         yes"]),
    ],
)
def test_info_says_what_a_name_or_file_holds(subject: object, lines: list[str]) -> None:
    told = run_here("info", subject).stdout
    for line in lines:
        assert line in told


def test_info_tells_classes_of_a_head_and_not_its_encoders_features() -> None:
    told = run_here("info", "concerto-large-scannet").stdout
    assert "encoder     concerto-large\nclasses     wall, floor, cabinet, " in told
    assert "features" not in told


@pytest.mark.parametrize("zipped", [True, False])
def test_info_knows_weights_from_a_sweep_that_end_alike(zipped: bool, tmp_path: Path) -> None:
    weights = torch.load(GOLDEN, weights_only=True)
    file = tmp_path / "pytorch_model.bin"
    torch.save(weights, file, _use_new_zipfile_serialization=zipped)
    assert "parameters  169,008" in run_here("info", file).stdout


def test_info_takes_the_options_that_it_advises(tmp_path: Path) -> None:
    dark, sweep = tmp_path / "dark.txt", tmp_path / "sweep.bin"
    dark.write_text("x y z red green blue\n1 2 3 900 800 700\n4 5 6 1 2 3\n")
    np.arange(120, dtype=np.float32).tofile(sweep)
    assert "--color-range 0 65535" in " ".join(fail_here("info", dark))
    assert "colours         yes" in run_here("info", dark, "--color-range", 0, 65535).stdout
    assert "points          20" in run_here("info", sweep, "--columns", 6).stdout


def test_letters_that_a_pipe_lacks_are_spelt_out_and_break_nothing(tmp_path: Path) -> None:
    scan = tmp_path / "部屋.npz"
    scan.write_bytes(ROOM.read_bytes())
    process = run(
        *("encode", scan, "-o", tmp_path / "out", "--model", GOLDEN), PYTHONIOENCODING="cp1252"
    )
    assert r"out/\u90e8\u5c4b.npz" in process.stdout
    assert (tmp_path / "out" / "部屋.npz").is_file()


def test_convert_goes_there_and_back(tmp_path: Path) -> None:
    run_here("convert", GOLDEN, tmp_path / "ours")
    run_here("convert", tmp_path / "ours", tmp_path / "theirs.pth")
    original = torch.load(GOLDEN, weights_only=True)
    again = torch.load(tmp_path / "theirs.pth", weights_only=True)
    assert again["config"] == original["config"]
    assert all(torch.equal(again["state_dict"][k], v) for k, v in original["state_dict"].items())


def test_convert_writes_a_folder_whose_name_has_a_dot(tmp_path: Path) -> None:
    (tmp_path / "mine.old").mkdir()
    for name in ("model-v1.5", "mine.old"):
        run_here("convert", GOLDEN, tmp_path / name)
        assert (tmp_path / name / "config.json").is_file()


def test_a_half_precision_model_stays_so_when_converted(tmp_path: Path) -> None:
    concerto.Concerto(SMALL).half().save_pretrained(tmp_path / "half")
    run_here("convert", tmp_path / "half", tmp_path / "half.pth")
    state = torch.load(tmp_path / "half.pth", weights_only=True)["state_dict"]
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "-o", "out"], "No scans were given"),
        (["encode", "none.ply", "-o", "out"], "none.ply"),
        (["encode", "a/room.ply", "b/room.npz", "-o", "out"], "would both be written to"),
        (["encode", "room.npz", "-o", "."], "is a scan itself"),
        (["pca", "room.npz", "-o", "room.gif"], "must end in one of .ply, .png, .html"),
        (
            ["similar", "room.npz", "--point", "nan", "0", "0", "-o", "x.png"],
            "three finite numbers",
        ),
        (["info", "concerto-larg"], "Did you mean concerto-large"),
        (["convert", "concerto-bas", "out"], "Did you mean concerto-base"),
        (["convert", "concerto-base", "out"], "is not in the cache"),
        (["convert", "concerto-tiny", "out.onnx"], "must be a folder, or end in .pth"),
        (["pca", "room.npz", "-o", "x.png", "--model", "room.npz"], "cannot be read as weights"),
        (["pca", "room.npz", "-o", "x.png", "--device", "tpu"], "device is 'tpu', which"),
    ],
)
def test_a_mistake_gives_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    shutil.copy(ROOM, tmp_path / "room.npz")
    monkeypatch.chdir(tmp_path)
    [error] = fail_here(*arguments)
    assert error.startswith("error: ")
    assert message in error
    assert [file.name for file in tmp_path.iterdir()] == ["room.npz"]


@pytest.mark.parametrize(
    "arguments",
    [
        "pca scan.ply -o scan.ply",
        "similar scan.ply --point 0 0 0 -o here/../scan.ply",
        "segment scan.ply -o link.ply",
        "ask scan.ply chair -o scan.ply",
        "ask scan-chair.ply chair table -o scan.ply",
        "video clip.mp4 -o clip.mp4",
        "convert theirs/state.pth theirs/state.pth",
        "convert theirs theirs/state.pth",
        "convert ours ours",
        "convert ours/model.safetensors ours",
        "convert others/a.safetensors others",
    ],
)
def test_no_command_writes_over_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("here", "theirs"):
        Path(folder).mkdir()
    for scan in ("scan.ply", "scan-chair.ply"):
        concerto.write(scan, random_cloud(50))
    Path("link.ply").symlink_to("scan.ply")
    Path("clip.mp4").write_bytes(b"frames")
    shutil.copy(GOLDEN, "theirs/state.pth")
    concerto.Concerto(SMALL).save_pretrained("ours")
    shutil.copytree("ours", "others")
    Path("others/model.safetensors").rename("others/a.safetensors")
    before = {file: file.read_bytes() for file in Path().rglob("*.*")}
    [error] = fail_here(*arguments.split())
    assert "is what is read, and would be destroyed" in error
    assert {file: file.read_bytes() for file in Path().rglob("*.*")} == before


def test_a_mistake_ends_the_command_with_one(tmp_path: Path) -> None:
    process = run("encode", "-o", tmp_path / "out", code=1)
    assert process.stderr == "error: No scans were given: concerto encode SCAN... -o DIR.\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_command_ends_quietly_where_nobody_reads_its_output(unbuffered: str) -> None:
    assert not run_unread("models", unbuffered=unbuffered)


def test_debug_shows_what_wrote_where_nobody_reads_the_output() -> None:
    told = run_unread("models", "--debug")
    assert "Traceback" in told
    assert "BrokenPipeError" in told


def test_another_broken_pipe_than_the_output_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def work(_: object) -> None:
        raise BrokenPipeError("a worker's queue")

    monkeypatch.setattr("sys.argv", ["concerto"])
    monkeypatch.setattr("warnings.showwarning", None)  # given back after the test
    with pytest.raises(BrokenPipeError, match="a worker's queue"):
        command_line.run(work)


def test_help_ends_quietly_where_nobody_reads_it() -> None:
    assert not run_unread("--help", unbuffered="")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_command_does_its_work_where_its_output_is_closed(tmp_path: Path, closed: str) -> None:
    command = [sys.executable, "-m", "concerto.cli", "encode", ROOM, "--model", GOLDEN]
    process = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command, "-o", tmp_path],
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    assert (tmp_path / "sample_room.npz").is_file()


def test_points_that_are_not_finite_are_left_out_on_request(tmp_path: Path) -> None:
    cloud = random_cloud(300)
    cloud.coord[7] = torch.nan
    concerto.write(tmp_path / "holes.npz", cloud)
    assert (
        "first at index 7"
        in run_here("encode", tmp_path / "holes.npz", "-o", tmp_path / "out", code=1).stderr
    )
    run_here("encode", tmp_path / "holes.npz", "-o", tmp_path / "out", "--drop-invalid")
    with np.load(tmp_path / "out" / "holes.npz") as written:
        assert (written["feat"][7] == 0).all()
        assert (written["feat"][8] != 0).any()
    for suffix in ("png", "html", "ply"):
        run_here("pca", tmp_path / "holes.npz", "-o", tmp_path / f"x.{suffix}", "--drop-invalid")


def test_points_left_out_do_not_change_the_colours_of_the_others(tmp_path: Path) -> None:
    whole = random_cloud(300)
    nowhere = torch.full((300, 3), torch.nan)
    holes = concerto.PointCloud(torch.cat([whole.coord, nowhere]))
    concerto.write(tmp_path / "whole.npz", concerto.PointCloud(whole.coord))
    concerto.write(tmp_path / "holes.npz", holes)
    for name, options in (("whole", []), ("holes", ["--drop-invalid"])):
        run_here("pca", tmp_path / f"{name}.npz", "-o", tmp_path / f"{name}.ply", *options)
    one, two = (concerto.read(tmp_path / f"{name}.ply").color for name in ("whole", "holes"))
    assert torch.allclose(two[:300], one, atol=2 / 255)
