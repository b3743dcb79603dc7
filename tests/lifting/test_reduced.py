"""Images that lie reduced beside the intrinsics of the large ones: the cameras are scaled."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tool_recordings import WRITERS, write_arkitscenes, write_nerfstudio

import concerto
from concerto.errors import InputError
from concerto.lifting.frame import Intrinsics
from concerto.lifting.layouts import open_recording
from recordings import CAMERA, frames, write_flat

FRAMES = frames()
SMALL = CAMERA.resized((72, 96), (36, 48))
Write = Callable[[Path], Path]


def resize(folder: Path, size: tuple[int, int]) -> Path:
    """The colour images of a recording, made (width, height)."""
    for part in ("images", "lowres_wide", "rgbd"):
        for file in (folder / part).glob("*.[pj][np]g"):
            with Image.open(file) as image:
                kind, small = image.format, image.resize(size, Image.Resampling.BOX)
            small.save(file, kind)
    return folder


@pytest.mark.parametrize("write", WRITERS)
def test_reduced_images_have_the_camera_of_their_own_size(write: Write, tmp_path: Path) -> None:
    recording = open_recording(resize(write(tmp_path / "room"), (48, 36)))
    frame = recording.read(recording.frames[1])
    np.testing.assert_allclose(frame.camera.values, SMALL.values, atol=1e-6)
    np.testing.assert_allclose(frame.depth_camera.values, CAMERA.values, atol=1e-6)


@pytest.mark.parametrize("write", WRITERS)
def test_images_that_are_cut_from_larger_ones_are_refused(write: Write, tmp_path: Path) -> None:
    recording = open_recording(resize(write(tmp_path / "room"), (48, 48)))
    with pytest.raises(InputError, match=r"the image is 48 x 48, and its intrinsics .* 96 x 72"):
        recording.read(recording.frames[1])


def test_a_geometry_is_shown_the_camera_of_the_reduced_image(tmp_path: Path) -> None:
    def geometry(images: object, intrinsics: list[Intrinsics], poses: list) -> concerto.Views:
        np.testing.assert_allclose([camera.values for camera in intrinsics], 8 * [SMALL.values])
        return concerto.Views([frame.depth for frame in FRAMES], intrinsics, poses)

    concerto.lift(resize(write_nerfstudio(tmp_path / "room"), (48, 36)), geometry=geometry)


def test_given_intrinsics_are_of_the_images_as_they_are(tmp_path: Path) -> None:
    folder = resize(write_nerfstudio(tmp_path / "room"), (48, 36))
    given = concerto.lift(folder, intrinsics=SMALL).cameras
    each = concerto.lift(folder, intrinsics=[SMALL] * len(FRAMES)).cameras
    assert {camera.intrinsics for camera in (*given, *each)} == {SMALL}


def test_a_camera_of_images_without_a_pixel_is_refused(tmp_path: Path) -> None:
    folder = write_nerfstudio(tmp_path / "room")
    content = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").write_text(json.dumps(content | {"w": 0}))
    recording = open_recording(folder)
    with pytest.raises(InputError, match="intrinsics are those of 0 x 72"):
        recording.read(recording.frames[0])


def crop_depth(folder: Path) -> Path:
    """The same recording with depth that shows the upper half alone."""
    for file in (*folder.glob("*depth*/*.png"), *folder.glob("*.depth.png")):
        with Image.open(file) as image:
            image.crop((0, 0, 96, 36)).save(file)
    return folder


@pytest.mark.parametrize("write", [write_nerfstudio, write_arkitscenes])
def test_depth_that_shows_another_view_than_the_image_is_refused(
    write: Write, tmp_path: Path
) -> None:
    recording = open_recording(crop_depth(write(tmp_path / "room")))
    with pytest.raises(
        InputError, match=r"room/.*image is 96 x 72, the depth 96 x 36; .*same view"
    ):
        recording.read(recording.frames[0])


def test_it_is_refused_too_where_each_frame_is_given_its_intrinsics(tmp_path: Path) -> None:
    folder = crop_depth(write_flat(tmp_path / "room", FRAMES))
    with pytest.raises(
        InputError, match=r"room/.*image is 96 x 72, the depth 96 x 36; .*same view"
    ):
        concerto.lift(folder, intrinsics=[CAMERA] * len(FRAMES))
