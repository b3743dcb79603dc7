"""A cloud is brought into a room, however few points it has, by the depth that counts."""

import numpy as np
import pytest
import torch

import concerto
from concerto.errors import InputError
from concerto.lifting.alignment import HEIGHT, find_alignment
from recordings import CAMERA, VIEWS, frames


@pytest.mark.parametrize("count", [1, 2, 3])
def test_so_few_points_that_they_make_no_plane_are_no_floor(count: int) -> None:
    floor, table = np.eye(3)[:count] * [1, 1, 0], np.array([[2.0, 2, 1.5]] * 3) * [[1], [1.1], [2]]
    wall = np.stack([np.arange(20.0), np.zeros(20), np.linspace(0.1, 4, 20)], 1)
    coord = np.concatenate([floor, table, wall])
    normal = np.repeat([[0.0, 0, 1], [0, 1, 0]], [count + 3, 20], axis=0)
    found = find_alignment(coord, normal, [view.pose for view in VIEWS], "room")
    assert found is not None
    assert (found.floor is None) == (count < 3)
    z = found.points(coord)[:, 2]
    assert z.min() == pytest.approx(0, abs=0.1)
    assert z.max() == pytest.approx(HEIGHT, abs=0.1)


def test_depth_without_confidence_does_not_change_how_a_room_is_scaled() -> None:
    recorded = frames()
    given = {
        "frames": [frame.color for frame in recorded],
        "intrinsics": CAMERA,
        "poses": [frame.pose for frame in recorded],
        "align": "room",
    }
    right = [np.pad(frame.depth[:, 60:], ((0, 0), (60, 0))) for frame in recorded]
    wild = [np.where(depth == 0, np.float32(1000), depth) for depth in right]
    sure = [(depth > 0).astype(np.float32) for depth in right]
    cloud = concerto.lift(depths=wild, confidences=sure, **given)
    torch.testing.assert_close(cloud.coord, concerto.lift(depths=right, **given).coord)
    none = [0 * one for one in sure]
    with pytest.raises(InputError, match=r"No frame .* the confidence is 0 wherever frame 0"):
        concerto.lift(depths=right, confidences=none, **given)
