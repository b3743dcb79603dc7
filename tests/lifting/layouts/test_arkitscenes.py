"""ARKitScenes: what lies in several folders is brought together by its times."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tool_recordings import write_arkitscenes

from concerto.errors import ConcertoWarning, InputError
from concerto.lifting.conventions import inverse, rigid
from concerto.lifting.layouts import open_recording
from recordings import frames

FRAMES = frames()


def turn(folder: Path, times: list[float]) -> Path:
    """A trajectory of a camera that walks along x at 0.5 m/s and turns about z by 60° a second."""
    lines = []
    for time in times:
        world_to_camera = inverse(walked(time))
        vector = Rotation.from_matrix(world_to_camera[:3, :3]).as_rotvec()
        values = " ".join(f"{value:.9f}" for value in (*vector, *world_to_camera[:3, 3]))
        lines.append(f"{6791.4 + time:.4f} {values}")
    (folder / "lowres_wide.traj").write_text("\n".join(lines))
    return folder


def walked(time: float) -> np.ndarray:
    return rigid(Rotation.from_euler("z", 60 * time, degrees=True).as_matrix(), [0.5 * time, 1, 2])


@pytest.mark.parametrize("late", [0.0, 0.01, 0.05, 0.09])
def test_an_image_between_two_poses_has_the_one_in_between(late: float, tmp_path: Path) -> None:
    times = [number / 10 - late for number in range(9)]
    listed = open_recording(turn(write_arkitscenes(tmp_path / "room"), times)).frames
    assert len(listed) == len(FRAMES)
    for number, files in enumerate(listed):
        np.testing.assert_allclose(files.pose, walked(number / 10), atol=1e-6)


def test_images_where_the_poses_are_lost_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = write_arkitscenes(tmp_path / "room")
    times = [number / 10 + 0.003 for number in (0, 1, 4, 5, 6, 7)]
    first = r"left out 2 of 8 images, the first 40753679_6791\.600\.png, for lack of .* poses"
    with pytest.warns(ConcertoWarning, match=first):
        names = [files.name[-5:] for files in open_recording(turn(folder, times)).frames]
    assert names == ["1.400", "1.500", "1.800", "1.900", "2.000", "2.100"]
    with (
        pytest.warns(ConcertoWarning, match="left out 8 of 8 images"),
        pytest.raises(InputError, match="room lists no frames"),
    ):
        open_recording(turn(folder, []))


@pytest.mark.parametrize("off", [-0.001, 0.001])
def test_intrinsics_named_a_millisecond_off_are_found(off: float, tmp_path: Path) -> None:
    folder = write_arkitscenes(tmp_path / "room")
    for file in list((folder / "lowres_wide_intrinsics").iterdir()):
        video, time = file.stem.split("_")
        file.rename(file.with_name(f"{video}_{float(time) + off:.3f}.pincam"))
    assert len(open_recording(folder).frames) == len(FRAMES)


def test_a_trajectory_with_lost_numbers_is_refused(tmp_path: Path) -> None:
    folder = write_arkitscenes(tmp_path / "room")
    (folder / "lowres_wide.traj").write_text("6791.4 nan 0 0 0 0 0\n")
    with pytest.raises(InputError, match=r"lowres_wide\.traj holds NaN or infinity"):
        open_recording(folder)
