"""ScanNet's .sens files: all that the exported frames hold, in bounded memory."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from concerto.errors import InputError
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts import find_recordings, open_recording
from recordings import CAMERA, frames, write_flat, write_scannet, write_sens

FRAMES = frames()
# Of the header: version, name with its length, four matrices, compressions and sizes.
COMPRESSION = 4 + 8 + 15 + 4 * 64
FIRST_FRAME = COMPRESSION + 36


@pytest.mark.parametrize("packed", [True, False])
def test_a_sens_file_holds_the_frames_that_are_exported_from_it(
    packed: bool, tmp_path: Path
) -> None:
    exported = open_recording(write_scannet(tmp_path / "exported", FRAMES))
    recording = open_recording(write_sens(tmp_path / "scene0000_00.sens", FRAMES, packed))
    assert recording.name == "scene0000_00"
    assert recording.frames[3].name == "scene0000_00/3"
    assert len(recording.frames) == len(FRAMES)
    for one, other in zip(recording.frames, exported.frames, strict=True):
        frame, wanted = recording.read(one), exported.read(other)
        np.testing.assert_array_equal(frame.color, wanted.color)
        np.testing.assert_array_equal(frame.depth, wanted.depth)
        np.testing.assert_allclose(frame.pose, wanted.pose, atol=1e-6)
        assert one.image() == other.image()
    np.testing.assert_allclose(recording.camera.values, exported.camera.values)
    np.testing.assert_allclose(recording.depth_camera.values, CAMERA.values)


def test_what_is_given_replaces_what_the_file_tells(tmp_path: Path) -> None:
    file = write_sens(tmp_path / "a.sens", FRAMES[:1])
    camera = Intrinsics(100, 100, 80, 60)
    frame = (recording := open_recording(file, camera, 2000)).read(recording.frames[0])
    assert frame.camera == camera
    assert frame.depth_camera.values == (50, 50, 39.75, 29.75)
    as_told = open_recording(file)
    scaled = open_recording(file, depth_scale=2000)
    depth = as_told.read(as_told.frames[0]).depth
    np.testing.assert_allclose(scaled.read(scaled.frames[0]).depth, depth / 2)


def test_listing_and_reading_frames_takes_the_memory_of_one_frame_not_of_all(
    tmp_path: Path,
) -> None:
    file = write_sens(tmp_path / "long.sens", FRAMES * 50, packed=False)
    tracemalloc.start()
    try:
        recording = open_recording(file)
        for files in recording.frames[::40]:
            recording.read(files)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert file.stat().st_size > 7e6
    assert peak < 0.3 * file.stat().st_size


def test_sens_files_are_found_in_a_folder_and_in_the_folders_in_it(tmp_path: Path) -> None:
    first = write_sens(tmp_path / "scans" / "scene0001_00" / "scene0001_00.sens", FRAMES[:1])
    second = write_sens(tmp_path / "scans" / "scene0000_00" / "scene0000_00.sens", FRAMES[:1])
    flat = write_flat(tmp_path / "scans" / "room", FRAMES[:1])
    assert find_recordings(tmp_path / "scans") == [flat, second, first]
    assert find_recordings(first.parent) == find_recordings(first) == [first]


def test_a_frame_whose_tracking_was_lost_is_named(tmp_path: Path) -> None:
    lost = [FRAMES[0].pose, np.full((4, 4), -np.inf)]
    recording = open_recording(write_sens(tmp_path / "a.sens", FRAMES[:2], poses=lost))
    recording.read(recording.frames[0])
    with pytest.raises(InputError, match="a/1: the pose holds NaN or infinity"):
        recording.read(recording.frames[1])


def edited(at: int, new: bytes) -> object:
    return lambda content: content[:at] + new + content[at + len(new) :]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited(0, struct.pack("<I", 3)), "a.sens is of version 3"),
        (edited(4, struct.pack("<Q", 2**40)), "name has 1,099,511,627,776 letters"),
        (edited(COMPRESSION, struct.pack("<i", 0)), "compresses colour by method 0"),
        (edited(COMPRESSION + 4, struct.pack("<i", 2)), "depth by 2; JPEG"),
        (edited(COMPRESSION + 24, struct.pack("<f", 0)), "0 steps of depth a metre"),
        (edited(COMPRESSION + 28, struct.pack("<Q", 0)), "lists no frames"),
        (edited(FIRST_FRAME + 80, struct.pack("<Q", 2**60)), "frame 0 of 2 is not all there"),
        (lambda content: content[:-4000], "frame 1 of 2 is not all there"),
        (lambda content: content[:100], "cut short after 100 bytes"),
        (lambda content: b"", "cut short after 0 bytes"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_the_reason(
    edit: object, message: str, tmp_path: Path
) -> None:
    file = write_sens(tmp_path / "a.sens", FRAMES[:2])
    file.write_bytes(edit(file.read_bytes()))
    with pytest.raises(InputError, match=message):
        open_recording(file)


@pytest.mark.parametrize("packed", [True, False])
def test_a_depth_image_of_another_size_is_named(packed: bool, tmp_path: Path) -> None:
    file = write_sens(tmp_path / "a.sens", FRAMES[:1], packed)
    height = COMPRESSION + 20
    file.write_bytes(edited(height, struct.pack("<I", 71))(file.read_bytes()))
    recording = open_recording(file)
    with pytest.raises(InputError, match=r"a/0: the depth has .* 96 x 71 pixels take 13,632"):
        recording.read(recording.frames[0])


def test_damaged_images_are_named(tmp_path: Path) -> None:
    file = write_sens(tmp_path / "a.sens", FRAMES[:1])
    recording = open_recording(file)
    content = bytearray(file.read_bytes())
    content[FIRST_FRAME + 96 : FIRST_FRAME + 110] = bytes(14)
    file.write_bytes(content)
    with pytest.raises(InputError, match="Cannot decode the image a/0"):
        recording.read(recording.frames[0])
    file.write_bytes(content[: FIRST_FRAME + 200])
    with pytest.raises(InputError, match="cut short"):
        recording.read(recording.frames[0])
