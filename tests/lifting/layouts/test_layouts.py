"""Frames are found in the layouts of three data sets; what is missing or wrong is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import concerto
from concerto.errors import ConcertoWarning, InputError
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts import find_recordings, open_recording
from recordings import CAMERA, frames, write_flat, write_scannet, write_tum

FRAMES = frames()
Write = Callable[[Path, list], Path]


@pytest.mark.parametrize("write", [write_flat, write_tum, write_scannet])
def test_every_layout_gives_the_frames_that_were_written(write: Write, tmp_path: Path) -> None:
    folder = write(tmp_path / "room", FRAMES)
    given = CAMERA if write is write_tum else None
    recording = open_recording(folder, given)
    assert recording.name == "room"
    assert len(recording.frames) == len(FRAMES)
    for files, wanted in zip(recording.frames, FRAMES, strict=True):
        frame = recording.read(files)
        np.testing.assert_allclose(frame.depth, wanted.depth, atol=6e-4)
        np.testing.assert_allclose(frame.pose, wanted.pose, atol=1e-6)
        step = len(frame.color) // len(wanted.color)
        off = np.abs(frame.color[::step, ::step].astype(int) - wanted.color)
        assert np.median(off) <= 3
        np.testing.assert_allclose(frame.depth_camera.values, CAMERA.values)


def test_scannet_has_a_camera_for_colour_and_one_for_depth(tmp_path: Path) -> None:
    recording = open_recording(write_scannet(tmp_path / "room", FRAMES[:1]))
    assert recording.camera.fx == 2 * recording.depth_camera.fx
    frame = recording.read(recording.frames[0])
    assert frame.color.shape[:2] == (144, 192)


@pytest.mark.parametrize("each", [False, True])
def test_intrinsics_given_for_scannet_are_those_of_its_larger_images(
    each: bool, tmp_path: Path
) -> None:
    folder = write_scannet(tmp_path / "room", FRAMES)
    wanted = concerto.lift(folder)
    shutil.rmtree(folder / "intrinsic")
    camera = CAMERA.resized((72, 96), (144, 192))
    cloud = concerto.lift(folder, intrinsics=[camera] * len(FRAMES) if each else camera)
    torch.testing.assert_close(cloud.coord, wanted.coord)
    torch.testing.assert_close(cloud.color, wanted.color)


def test_scannets_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write_scannet(tmp_path / "room", FRAMES)
    write_scannet(tmp_path / "more", FRAMES[:1])
    for part, suffix in (("color", "jpg"), ("depth", "png"), ("pose", "txt")):
        (folder / part / f"0.{suffix}").rename(folder / part / f"100.{suffix}")
    names = [files.name for files in open_recording(folder).frames]
    assert names[0] == "room/10"
    assert names[-1] == "room/100"


@pytest.mark.parametrize("name", ["freiburg1", "freiburg2", "freiburg3"])
def test_tums_cameras_are_known_by_the_folder(name: str, tmp_path: Path) -> None:
    folder = write_tum(tmp_path / f"rgbd_dataset_{name}_room", FRAMES[:1])
    fx = {"freiburg1": 517.3, "freiburg2": 520.9, "freiburg3": 535.4}[name]
    assert open_recording(folder).camera.fx == fx


def test_tums_images_without_depth_or_pose_near_in_time_are_counted_and_no_frames(
    tmp_path: Path,
) -> None:
    folder = write_tum(tmp_path / "room", FRAMES)
    for name, left_out in (("depth.txt", 2), ("groundtruth.txt", 5)):
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join(lines[: 1 + left_out] + lines[2 + left_out :]))
    first = rf"left out 2 of 8 images, the first rgb/{1305031102.0 + 2 / 30:.6f}\.png, .*20 ms"
    with pytest.warns(ConcertoWarning, match=first):
        kept = [files.name for files in open_recording(folder, CAMERA).frames]
    wanted = [f"room/{1305031102.0 + n / 30:.6f}" for n in (0, 1, 3, 4, 6, 7)]
    assert kept == wanted


def test_given_intrinsics_and_depth_scale_take_the_place_of_the_folders(tmp_path: Path) -> None:
    camera = Intrinsics(1.0, 2.0, 3.0, 4.0)
    recording = open_recording(write_flat(tmp_path / "room", FRAMES[:1]), camera, 2000)
    frame = recording.read(recording.frames[0])
    assert frame.camera == frame.depth_camera == camera
    np.testing.assert_allclose(frame.depth, FRAMES[0].depth / 2, atol=1e-3)


def test_a_folder_of_scenes_gives_those_that_hold_frames(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_flat(tmp_path / name, FRAMES[:1])
    (tmp_path / "notes").mkdir()
    assert find_recordings(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert find_recordings(tmp_path / "a") == [tmp_path / "a"]


def test_a_folder_without_frames_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"NAME\.color\.jpg.*TUM.*ScanNet"):
        find_recordings(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        find_recordings(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("write", "missing", "advice"),
    [
        (write_flat, "intrinsics.txt", "585, 585, 320, 240"),
        (write_scannet, "intrinsic/intrinsic_depth.txt", "intrinsic_depth.txt"),
        (write_tum, None, "freiburg1"),
        (write_tum, "groundtruth.txt", "groundtruth.txt"),
    ],
)
def test_what_a_folder_does_not_tell_is_asked_for(
    write: Write, missing: str | None, advice: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "room", FRAMES[:1])
    if missing:
        (folder / missing).unlink()
    with pytest.raises(InputError, match=advice):
        open_recording(folder)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("frame-000000.pose.txt", b"1 2\n3", "no matrix"),
        ("frame-000000.pose.txt", b"one two", "no matrix"),
        ("frame-000000.color.png", b"not a picture", "Cannot decode"),
        ("frame-000000.depth.png", None, "Cannot read"),
    ],
)
def test_a_broken_file_of_a_frame_is_named(
    file: str, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    folder = write_flat(tmp_path / "room", FRAMES[:1])
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    recording = open_recording(folder)
    with pytest.raises(InputError, match=f"{reason}.*{file}|{file}.*{reason}"):
        recording.read(recording.frames[0])


@pytest.mark.parametrize(
    ("write", "name"),
    [(write_flat, "intrinsics.txt"), (write_scannet, "intrinsic/intrinsic_depth.txt")],
)
def test_a_file_of_transposed_intrinsics_is_named(write: Write, name: str, tmp_path: Path) -> None:
    file = write(tmp_path / "room", FRAMES[:1]) / name
    np.savetxt(file, np.loadtxt(file).T)
    with pytest.raises(InputError, match=rf"{name}: .*transposed"):
        open_recording(tmp_path / "room")


def test_an_image_that_is_cut_short_is_told_in_a_sentence(tmp_path: Path) -> None:
    folder = write_flat(tmp_path / "room", FRAMES[:1])
    file = folder / "frame-000000.depth.png"
    for size in (200, 20):
        file.write_bytes(file.read_bytes()[:size])
        recording = open_recording(folder)
        with pytest.raises(InputError, match=r"depth\.png: [^'<]*\.$"):
            recording.read(recording.frames[0])


def test_a_picture_for_depth_is_refused(tmp_path: Path) -> None:
    folder = write_flat(tmp_path / "room", FRAMES[:1])
    (folder / "frame-000000.color.png").rename(folder / "frame-000000.depth.png")
    (folder / "frame-000000.color.png").write_bytes(
        (folder / "frame-000000.depth.png").read_bytes()
    )
    recording = open_recording(folder)
    with pytest.raises(InputError, match="3 channels; a depth image has one"):
        recording.read(recording.frames[0])
