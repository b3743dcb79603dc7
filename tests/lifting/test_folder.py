"""A folder of frames, with what is said in place of what it tells, and what is wrong with it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import concerto
from concerto import Frame, Views
from concerto.errors import ConcertoWarning, InputError
from concerto.lifting.inputs import image_files
from concerto.lifting.layouts import open_recording
from recordings import CAMERA, frames, write_flat, write_scannet, write_tum

FRAMES = frames()
POSES = [frame.pose for frame in FRAMES]


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return write_flat(tmp_path / "room", FRAMES)


def same(cloud: concerto.LiftedCloud, wanted: concerto.LiftedCloud) -> None:
    assert len(cloud) == len(wanted)
    torch.testing.assert_close(cloud.coord, wanted.coord)


def test_a_folder_that_does_not_tell_its_camera_takes_the_one_given(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "room", FRAMES)
    with pytest.raises(InputError, match=r"Pass intrinsics=\(fx, fy, cx, cy\)"):
        concerto.lift(folder)
    wanted = concerto.lift(folder, intrinsics=CAMERA)
    assert wanted.cameras[0].intrinsics == CAMERA
    same(concerto.lift(folder, intrinsics=[CAMERA.values] * len(FRAMES)), wanted)
    with pytest.raises(InputError, match="counts differ: 8 frames, 2 intrinsics"):
        concerto.lift(folder, intrinsics=[CAMERA] * 2)


def test_poses_given_beside_a_folder_take_the_place_of_its_own(room: Path) -> None:
    wanted = concerto.lift(room)
    moved = concerto.lift(room, poses=[shifted(pose, 1) for pose in POSES])
    torch.testing.assert_close(moved.coord, wanted.coord + torch.tensor([1.0, 0, 0]))
    inverses = room / "inverses.txt"
    np.savetxt(inverses, np.stack([np.linalg.inv(pose) for pose in POSES]).reshape(-1, 16))
    cloud = concerto.lift(room, poses=inverses, world_to_camera=True)
    assert abs(len(cloud) - len(wanted)) < 0.01 * len(wanted)
    for file, pose in zip(sorted(room.glob("*.pose.txt")), POSES, strict=True):
        np.savetxt(file, np.linalg.inv(pose))
    again = concerto.lift(room, world_to_camera=True)
    assert abs(len(again) - len(wanted)) < 0.01 * len(wanted)
    with pytest.raises(InputError, match="counts differ: 8 frames, 7 poses"):
        concerto.lift(room, poses=POSES[:7])
    with pytest.raises(InputError, match="weighs its depths itself"):
        concerto.lift(room, confidences=[1] * 8)


def shifted(pose: np.ndarray, x: float) -> np.ndarray:
    pose = pose.copy()
    pose[0, 3] += x
    return pose


@pytest.mark.parametrize("write", [write_flat, write_scannet])
@pytest.mark.parametrize("part", ["color", "depth", "pose"])
def test_a_frame_that_lacks_a_part_is_named_and_can_be_left_out(
    write: Callable[[Path, list[Frame]], Path], part: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "room", FRAMES)
    missing = sorted((*folder.glob(f"*2.{part}.*"), *(folder / part).glob("20.*")))
    missing[0].unlink()
    with pytest.raises(InputError, match=f"Cannot read .*{part}.*skip_bad=True"):
        concerto.lift(folder)
    with pytest.warns(ConcertoWarning, match="1 frame is left out"):
        cloud = concerto.lift(folder, skip_bad=True)
    assert len(cloud.names) == len(FRAMES) - 1


def test_images_of_another_size_are_refused_where_one_camera_took_all(room: Path) -> None:
    for file in room.glob("frame-000003.[cd]*.png"):
        image = Image.open(file)
        image.resize((80, 60), Image.Resampling.NEAREST).save(file)
    with pytest.raises(
        InputError, match=r"frame-000003: the image is 80 x 60, the first .* 96 x 72"
    ):
        concerto.lift(room)
    with pytest.warns(ConcertoWarning, match="1 frame is left out"):
        cloud = concerto.lift(room, skip_bad=True)
    assert len(cloud.names) == len(FRAMES) - 1


def test_what_is_no_recording_is_told_with_what_might_be_meant(room: Path) -> None:
    with pytest.raises(InputError, match=r"There is no folder .*nowhere\.$"):
        concerto.lift(room / "nowhere")
    with pytest.raises(InputError, match=r"intrinsics.txt is a file that is no recording"):
        concerto.lift(room / "intrinsics.txt")
    with pytest.raises(InputError, match=r"Is .*room meant"):
        concerto.lift(room.parent)
    for file in (*room.glob("*.pose.txt"), *room.glob("*.depth.png")):
        file.unlink()
    with pytest.raises(InputError, match=r"Of images alone, geometry=VGGT\(\)"):
        concerto.lift(plain_images(room))


def plain_images(room: Path) -> Path:
    """A folder of images alone, whose names sort otherwise as text."""
    folder = room.parent / "plain"
    folder.mkdir()
    for number, frame in enumerate(FRAMES):
        Image.fromarray(frame.color).save(folder / f"image_{number + 5}.png")
    return folder


def test_a_folder_of_images_alone_is_as_good_as_a_video(room: Path) -> None:
    folder = plain_images(room)
    assert [file.stem for file in image_files(folder)] == [f"image_{n}" for n in range(5, 13)]
    depths = [frame.depth for frame in FRAMES]
    wanted = concerto.lift([frame.color for frame in FRAMES], depths, CAMERA, POSES)
    same(concerto.lift(folder, depths, CAMERA, POSES), wanted)
    same(concerto.lift(folder, intrinsics=CAMERA, poses=POSES, geometry=known), wanted)
    with pytest.raises(InputError, match=r"holds no images \(.jpg"):
        image_files(room.parent)


def known(images: object, intrinsics: list, poses: list) -> Views:
    return Views([frame.depth for frame in FRAMES], intrinsics, poses)


def test_a_geometry_is_told_what_a_recording_knows(room: Path) -> None:
    for file in room.glob("*.depth.png"):
        file.unlink()
    wanted = [frame.color for frame in FRAMES], [frame.depth for frame in FRAMES], CAMERA, POSES
    same(concerto.lift(room, geometry=known), concerto.lift(*wanted))
    assert open_recording(room).camera == CAMERA
