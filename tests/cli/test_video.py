"""`concerto lift` and `concerto video`, and video files, as people use them."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import concerto
from command import run_here
from concerto.cli import lifting
from concerto.cli.lift import lift
from concerto.cli.lifting import LiftOptions
from concerto.cli.options import ModelOptions
from concerto.cli.video import video
from concerto.errors import InputError
from concerto.lifting import video_file
from concerto.lifting.video_file import VIDEOS, decoded, video_writer
from conftest import GOLDEN
from recordings import CAMERA, frames, write_flat, write_tum

av = pytest.importorskip("av")
FRAMES = frames()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flat(tmp_path_factory.mktemp("recordings") / "room", FRAMES)


def images() -> Iterator[np.ndarray]:
    for frame in FRAMES:
        yield frame.color.repeat(2, 0).repeat(2, 1)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("films") / "room.mp4"
    with video_writer(file, 10) as written:
        for image in images():
            written.add(image)
    return file


def test_a_video_comes_back_as_it_was_written(film: Path) -> None:
    for image, wanted in zip(decoded(film), images(), strict=True):
        assert image.shape == wanted.shape
        assert np.median(np.abs(image.astype(int) - wanted)) <= 4


@pytest.mark.parametrize("suffix", VIDEOS)
def test_every_kind_of_video_that_is_named_can_be_written(suffix: str, tmp_path: Path) -> None:
    with video_writer(tmp_path / f"room{suffix}", 10) as written:
        for image in images():
            written.add(image)
    for image, wanted in zip(decoded(tmp_path / f"room{suffix}"), images(), strict=True):
        assert np.median(np.abs(image.astype(int) - wanted)) <= 4


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(0.3, "3/10"), (1.5, "3/2"), (12, "12"), (23.976, "24000/1001"), (29.97, "30000/1001")],
)
def test_a_video_is_as_fast_as_asked(fps: float, rate: str, tmp_path: Path) -> None:
    with video_writer(tmp_path / "room.mp4", fps) as written:
        for image in images():
            written.add(image)
    with av.open(str(tmp_path / "room.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(rate)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_video_that_pyav_cannot_encode_is_told_before_any_work(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(name: str, mode: str) -> None:
        raise ValueError(name)

    monkeypatch.setattr(av, "Codec", unknown)
    with pytest.raises(InputError, match=rf"out{suffix}: .* lacks lib.*, which encodes {suffix}"):
        video(tmp_path / "gone", tmp_path / f"out{suffix}")


def test_what_a_container_does_not_take_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_file, "VP9", video_file.H264)
    with (
        pytest.raises(InputError, match=r"Cannot write the video .*out\.webm: .*libx264"),
        video_writer(tmp_path / "out.webm", 10),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_video_gives_the_cloud_that_its_images_give(film: Path) -> None:
    depths, poses = [frame.depth for frame in FRAMES], [frame.pose for frame in FRAMES]
    camera = CAMERA.resized((72, 96), (144, 192))
    cloud = concerto.lift(film, depths, camera, poses)
    wanted = concerto.lift(list(images()), depths, camera, poses)
    assert (cloud.coord == wanted.coord).all()
    assert (cloud.color - wanted.color).abs().median() < 0.02


def test_a_video_that_cannot_be_read_is_told(film: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:400])
    for name in ("empty", "cut"):
        with pytest.raises(InputError, match=f"Cannot read the video .*{name}"):
            list(decoded(tmp_path / f"{name}.mp4"))
    with pytest.raises(InputError, match=r"no video .*gone"):
        list(decoded(tmp_path / "gone.mp4"))
    with pytest.raises(InputError, match="must end in one of"), video_writer("out.txt", 10):
        pass


def test_a_video_of_no_image_is_refused_and_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"), video_writer(tmp_path / "none.mp4", 10):
        pass
    assert not list(tmp_path.iterdir())


def test_an_image_of_odd_sides_loses_its_last_row(tmp_path: Path) -> None:
    with video_writer(tmp_path / "odd.mp4", 10) as written:
        written.add(np.zeros((31, 45, 3), np.uint8))
    assert next(decoded(tmp_path / "odd.mp4")).shape == (30, 44, 3)


def test_lift_writes_a_cloud_and_says_what_it_did(room: Path, tmp_path: Path) -> None:
    out = tmp_path / "cloud.ply"
    process = run_here("lift", room, "-o", out, "--keyframes")
    assert f"{out}  " in process.stdout
    assert "of 8 frames; turned by 0° to z up" in process.stdout
    assert "lifting: 100%" in process.stderr
    cloud, wanted = concerto.read(out), concerto.lift(room, align="up")
    np.testing.assert_allclose(cloud.coord, wanted.coord, atol=1e-6)
    assert cloud.normal is not None


@pytest.mark.parametrize("command", ["lift", "video"])
def test_help_tells_options_of_lifting_apart_and_names_what_align_takes(command: str) -> None:
    told = run_here(command, "--help").stdout
    assert "lifting options" in told
    assert "options options" not in told
    assert "--align {auto,none,up,room}" in told


def test_align_none_leaves_the_world_as_it_is(room: Path, tmp_path: Path) -> None:
    out = tmp_path / "cloud.ply"
    assert "turned" not in run_here("lift", room, "-o", out, "--align", "none").stdout
    assert "None" in run_here("lift", room, "-o", out, "--align", "None", code=2).stderr


def test_lift_tells_of_bad_frames_in_flags(room: Path, tmp_path: Path) -> None:
    folder = write_flat(tmp_path / "room", FRAMES)
    (folder / "frame-000002.depth.png").unlink()
    process = run_here("lift", folder, "-o", tmp_path / "cloud.ply", code=1)
    assert "frame-000002.depth.png" in process.stderr
    assert "--skip-bad leaves such frames out" in process.stderr
    process = run_here("lift", folder, "-o", tmp_path / "cloud.ply", "--skip-bad")
    assert "warning: 1 frame is left out" in process.stderr
    assert "of 7 frames" in process.stdout


def test_a_video_without_geometry_asks_for_it(film: Path, tmp_path: Path) -> None:
    told = run_here("lift", film, "-o", tmp_path / "cloud.ply", code=1).stderr
    assert "--vggt" in told
    assert "--depth-model" in told


def test_video_paints_features_beside_the_frames(room: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    process = run_here("video", room, "-o", out, "--model", GOLDEN, "--every", "3")
    assert "painting: 100%" in process.stderr
    pictures = list(decoded(out))
    assert len(pictures) == 3
    for picture, frame in zip(pictures, FRAMES[::3], strict=True):
        assert picture.shape == (72, 192, 3)
        left, right = picture[:, :96].astype(int), picture[:, 96:].astype(int)
        assert np.median(np.abs(left - frame.color)) <= 6
        assert np.abs(left - right).max(2).mean() > 20


def test_bad_options_are_told_before_any_work(room: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must end in"):
        video(room, tmp_path / "out.gif")
    with pytest.raises(InputError, match="must end in"):
        lift(room, tmp_path / "out.jpg")
    for fps in (0, 1e-4, float("inf"), float("nan")):
        with pytest.raises(InputError, match=f"fps is {fps:g}; expected"):
            video(room, tmp_path / "out.mp4", fps=fps)
    with pytest.raises(InputError, match="opacity is 2"):
        video(room, tmp_path / "out.mp4", opacity=2)
    with pytest.raises(InputError, match="not both"):
        lift(room, tmp_path / "out.ply", LiftOptions(vggt=True, depth_model="x"))


def test_depth_is_found_on_the_device_of_the_model(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(device: str) -> None:
        raise InputError(f"on {device}")

    monkeypatch.setattr(lifting, "VGGT", found)
    with pytest.raises(InputError, match="on meta"):
        video(
            room, tmp_path / "out.mp4", lifting=LiftOptions(vggt=True),
            model=ModelOptions(device="meta"),
        )  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="on cuda:0"):
        lift(room, tmp_path / "out.ply", LiftOptions(vggt=True))


def test_a_folder_that_does_not_tell_its_camera_is_told_it_by_a_flag(tmp_path: Path) -> None:
    folder, out = write_tum(tmp_path / "room", FRAMES), tmp_path / "out.mp4"
    told = run_here("video", folder, "-o", out, "--model", GOLDEN, code=1).stderr
    assert "Pass --intrinsics fx fy cx cy" in told
    process = run_here(
        "video", folder, "-o", out, "--model", GOLDEN, "--every", "4",
        "--intrinsics", *CAMERA.values,
    )  # fmt: skip
    assert "painting: 100%" in process.stderr
    assert len(list(decoded(out))) == 2
