"""A cloud is brought into a room, however few points it has."""

import numpy as np
import pytest

from concerto.lifting.alignment import HEIGHT, find_alignment
from recordings import VIEWS


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
