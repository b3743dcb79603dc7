"""A recording in any world is turned so that z is up; one that stands is left alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from concerto.lifting.fusion import Lifter
from concerto.lifting.upright import upright
from recordings import frames

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
