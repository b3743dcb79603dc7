"""A recording in any world is turned so that z is up; one that stands is left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from concerto.lifting.fusion import Lifter
from concerto.lifting.upright import upright
from recordings import View, frames

FRAMES = frames()
POSES = [frame.pose for frame in FRAMES]


def room_normals() -> np.ndarray:
    lifter = Lifter(voxel_size=0.05)
    for frame in FRAMES:
        lifter.add(frame)
    cloud = lifter.cloud()
    assert cloud.normal is not None
    return cloud.normal.numpy()


NORMAL = room_normals()


def in_world(rotation: np.ndarray, poses: list[np.ndarray]) -> list[np.ndarray]:
    turn = np.eye(4)
    turn[:3, :3] = rotation
    return [turn @ pose for pose in poses]


def test_a_room_that_stands_is_left_as_it_is() -> None:
    np.testing.assert_array_equal(upright(NORMAL, POSES), np.eye(3))


@settings(deadline=None, max_examples=20)
@given(st.tuples(*[st.floats(-np.pi, np.pi)] * 3))
def test_a_room_in_any_world_is_turned_upright(angles: tuple[float, ...]) -> None:
    world = Rotation.from_euler("xyz", angles).as_matrix()
    turn = upright(NORMAL @ world.T, in_world(world, POSES))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) > 0
    up = turn @ world @ [0, 0, 1]
    assert up[2] > np.cos(np.radians(5.1))


def test_a_few_cameras_that_look_down_one_way_do_not_mislead() -> None:
    world = np.diag([1.0, -1, -1])
    turn = upright(NORMAL @ world.T, in_world(world, POSES[:2]))
    assert (turn @ world)[2, 2] > np.cos(np.radians(2))


def test_without_level_surfaces_the_cameras_tell() -> None:
    world = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    turn = upright(np.zeros((10, 3)), in_world(world, POSES))
    assert (turn @ world)[2, 2] > 0.99


def rolled(poses: list[np.ndarray], degrees: float) -> list[np.ndarray]:
    """The same cameras, each turned about where it looks."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    return [pose @ turn for pose in poses]


@pytest.mark.parametrize("degrees", [90, -90, 80])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_room_that_stands_is_left_where_cameras_lie_on_their_side(
    degrees: float, count: int
) -> None:
    np.testing.assert_array_equal(upright(NORMAL, rolled(POSES[:count], degrees)), np.eye(3))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("degrees", [0, 90])
def test_cameras_that_contradict_each_other_leave_a_room_that_stands(degrees: float) -> None:
    opposed = rolled(POSES, degrees) + rolled(POSES, degrees + 180)
    np.testing.assert_array_equal(upright(NORMAL, opposed), np.eye(3))


@pytest.mark.parametrize("first", range(len(POSES)))
def test_a_world_that_begins_with_a_cameras_frame_is_turned_wherever_it_looked(first: int) -> None:
    world = POSES[first][:3, :3].T
    for poses in (POSES, [POSES[first], *POSES[:2]], [POSES[first], *POSES[4:6]]):
        turn = upright(NORMAL @ world.T, in_world(world, poses))
        assert (turn @ world)[2, 2] > np.cos(np.radians(5.1))


def test_a_camera_that_looks_along_a_wall_does_not_make_it_the_floor() -> None:
    level = View((1, 1.5, 1.5), (3, 1.5, 1.5)).pose
    world = level[:3, :3].T
    turn = upright(NORMAL @ world.T, in_world(world, [level, *POSES]))
    assert (turn @ world)[2, 2] > np.cos(np.radians(5.1))


def looking(yaw: float, pitch: float = 0.0) -> np.ndarray:
    """A camera in the middle of the room; degrees, pitch downwards."""
    yaw, pitch = np.radians([yaw, pitch])
    ahead = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    return View((2.0, 1.5, 1.5), tuple(np.array([2.0, 1.5, 1.5]) + ahead)).pose


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "yaws", [[0] + [90] * 9, [0, *range(60, 120, 2)], [0, 15, 30, 45, *range(60, 120)]]
)
def test_a_world_that_begins_with_a_camera_before_a_wall_is_turned_where_it_then_pans(
    yaws: list[int], sign: int
) -> None:
    poses = [looking(yaw) for yaw in yaws]
    # As cameras see it, or as OpenGL does, whose y is up.
    world = np.diag([1, sign, sign]) @ poses[0][:3, :3].T
    turn = upright(NORMAL @ world.T, in_world(world, poses))
    assert (turn @ world)[2, 2] > np.cos(np.radians(5.1))


@pytest.mark.parametrize("pitch", [60, 75, 80])
def test_cameras_that_go_round_and_look_down_steeply_do_not_turn_a_room_over(pitch: float) -> None:
    poses = [looking(yaw, pitch) for yaw in range(0, 360, 15)]
    world = poses[0][:3, :3].T
    turn = upright(NORMAL @ world.T, in_world(world, poses))
    assert (turn @ world)[2, 2] > np.cos(np.radians(5.1))
