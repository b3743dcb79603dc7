"""What is masked, and where masked voxels go."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from concerto.grids import cloud_of_row
from concerto.training.pretraining.masking import jitter_masked, mask_cells
from concerto.training.scenes.samples import Clouds

GRID = 0.02
SEEDS = torch.tensor([11, 22])


def room(points: int, seed: int, extent: float = 1.0) -> tuple[Tensor, Tensor]:
    """Coordinates (n, 3), one a voxel, and their voxels."""
    random = torch.Generator().manual_seed(seed)
    coord = torch.rand(points, 3, generator=random) * extent - 0.3
    grid = ((coord - coord.amin(0)) / GRID).floor().long()
    _, rows = torch.unique(grid, dim=0, return_inverse=True)
    first = torch.full((int(rows.max()) + 1,), points).scatter_reduce(
        0, rows, torch.arange(points), "amin"
    )
    return coord[first], grid[first]


def clouds(*rooms: tuple[Tensor, Tensor]) -> Clouds:
    coord = torch.cat([coord for coord, _ in rooms])
    return Clouds(
        feat=torch.cat([coord, torch.zeros(len(coord), 6)], dim=1),
        grid_coord=torch.cat([grid for _, grid in rooms]),
        origin_coord=coord,
        offsets=torch.tensor([len(coord) for coord, _ in rooms]).cumsum(0),
    )


@settings(deadline=None, max_examples=30)
@given(size=st.floats(0.05, 0.6), ratio=st.floats(0, 1), seed=st.integers(0, 100))
def test_the_share_of_each_clouds_cells_is_masked_whole(
    size: float, ratio: float, seed: int
) -> None:
    views = clouds(room(400, seed), room(150, seed + 1, extent=0.5))
    masked = mask_cells(views, SEEDS, size, ratio)
    batch = cloud_of_row(views.offsets, len(masked))
    for cloud in (0, 1):
        coord, own = views.feat[batch == cloud, :3], masked[batch == cloud]
        cells = ((coord - coord.amin(0)) / size).floor().long()
        _, cell = torch.unique(cells, dim=0, return_inverse=True)
        share = torch.zeros(int(cell.max()) + 1).scatter_reduce(
            0, cell, own.float(), "mean", include_self=False
        )
        assert set(share.tolist()) <= {0.0, 1.0}
        assert int(share.sum()) == int(len(share) * torch.tensor(ratio))


def test_masks_depend_on_the_clouds_own_seed_alone() -> None:
    one, two = room(400, 0), room(300, 1)
    masked = mask_cells(clouds(one, two), SEEDS, 0.2, 0.5)
    assert torch.equal(masked[len(one[0]) :], mask_cells(clouds(two), SEEDS[1:], 0.2, 0.5))
    assert not torch.equal(masked[: len(one[0])], mask_cells(clouds(one), SEEDS[1:], 0.2, 0.5))


def test_cells_are_masked_equally_often_over_seeds() -> None:
    coord, grid = room(200, 0)
    often = torch.stack(
        [mask_cells(clouds((coord, grid)), torch.tensor([s]), 0.5, 0.5) for s in range(400)]
    )
    assert (often.float().mean(0) - 0.5).abs().max() < 0.15


@settings(deadline=None, max_examples=30)
@given(points=st.integers(2, 600), ratio=st.floats(0, 1), seed=st.integers(0, 100))
def test_jitter_moves_masked_rows_only_and_keeps_one_row_a_voxel(
    points: int, ratio: float, seed: int
) -> None:
    views = clouds(room(points, seed, extent=0.2), room(50, seed + 1))
    rows = torch.rand(len(views.feat), generator=torch.Generator().manual_seed(seed)) < ratio
    moved = jitter_masked(views, rows, SEEDS, 0.01, GRID).clouds
    changed = (moved.grid_coord != views.grid_coord).any(1)
    assert not changed[~rows].any()
    assert (moved.grid_coord >= 0).all()
    batch = cloud_of_row(views.offsets, len(rows))
    voxels = torch.cat([batch[:, None], moved.grid_coord], dim=1)
    assert len(torch.unique(voxels, dim=0)) == len(voxels)
    assert moved.feat is views.feat


def test_jitter_moves_voxels_as_noise_on_coordinates_does() -> None:
    # Points far from each other, so that nobody is in the way, anywhere in their voxels.
    steps = torch.arange(25) * 20
    grid = torch.cartesian_prod(steps, steps, steps) + 10
    within = torch.rand(len(grid), 3, generator=torch.Generator().manual_seed(0))
    views = clouds(((grid + within) * GRID - 7, grid))
    rows = torch.ones(len(grid), dtype=torch.bool)
    moved = jitter_masked(views, rows, SEEDS[:1], 0.01, GRID).clouds.grid_coord
    shift = moved - grid
    # A voxel is two deviations wide: mean over u in [0, 1] of P(noise < -2u deviations) = .195.
    assert (shift < 0).float().mean().item() == pytest.approx(0.195, abs=0.01)
    assert (shift > 0).float().mean().item() == pytest.approx(0.195, abs=0.01)
    assert shift.max() == 1
    assert shift.min() < -1


def test_jitter_depends_on_the_clouds_own_seed_alone() -> None:
    one, two = room(400, 0), room(300, 1)
    both = clouds(one, two)
    rows = torch.ones(len(both.feat), dtype=torch.bool)
    together = jitter_masked(both, rows, SEEDS, 0.01, GRID).clouds.grid_coord
    alone = jitter_masked(clouds(two), rows[: len(two[0])], SEEDS[1:], 0.01, GRID)
    assert torch.equal(together[len(one[0]) :], alone.clouds.grid_coord)
