"""Poorer copies of a scene are parts of it."""

from __future__ import annotations

import numpy as np
import torch

from concerto.points.point_cloud import PointCloud
from concerto.training.views.degrade import degrade

VOXEL = 0.02
EDGE = 2.0


def floor() -> PointCloud:
    """A square of points every half centimetre."""
    place = torch.arange(0, EDGE, 0.005)
    x, y = torch.meshgrid(place, place, indexing="ij")
    coord = torch.stack([x, y, torch.zeros_like(x)], -1).reshape(-1, 3)
    return PointCloud(coord, torch.rand_like(coord), torch.ones_like(coord))


def test_a_degraded_cloud_is_a_part_of_the_cloud() -> None:
    whole = floor()
    missing, counts = [], []
    for seed in range(60):
        poorer, rows = degrade(whole, VOXEL, np.random.default_rng(seed))
        kept = whole[torch.from_numpy(rows)]
        assert (np.diff(rows) > 0).all()
        torch.testing.assert_close(poorer.coord, kept.coord)
        if poorer.color is not None:
            torch.testing.assert_close(poorer.color, kept.color)
        missing.append((poorer.color is None, poorer.normal is None))
        counts.append(len(rows))
    thinned = [count for count in counts if count < len(whole)]
    # A cell of 1.5 to 3 voxels each, and those that the edges cut.
    assert all((EDGE / (3 * VOXEL)) ** 2 < n < (EDGE / (1.5 * VOXEL) + 2) ** 2 for n in thinned)
    assert 0.2 < len(thinned) / len(counts) < 0.6
    assert set(missing) == {(False, False), (True, False), (False, True), (True, True)}


def test_the_cloud_that_is_given_stays_as_it_is() -> None:
    whole = floor()
    before = whole.coord.clone()
    for seed in range(5):
        degrade(whole, VOXEL, np.random.default_rng(seed))
    assert torch.equal(whole.coord, before)
    assert whole.color is not None
