import pytest
import torch

from concerto.encoder.pooling import GridPooling, pool_grid


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Distinct voxels of two clouds, in random order."""
    torch.manual_seed(2)
    grid = torch.unique(torch.randint(0, 9, (300, 3)), dim=0)
    batch = torch.arange(2).repeat_interleave(len(grid))
    shuffled = torch.randperm(2 * len(grid))[: len(grid)]
    return grid.repeat(2, 1)[shuffled], batch[shuffled]


def test_parents_are_the_halved_voxels_of_the_same_cloud() -> None:
    grid, batch = example()
    pooling = pool_grid(grid, batch)
    assert torch.equal(pooling.grid_coord[pooling.parent], grid // 2)
    assert torch.equal(pooling.batch[pooling.parent], batch)


def test_coarse_voxels_are_distinct_and_sorted_by_cloud_x_y_z() -> None:
    pooling = pool_grid(*example())
    keys = torch.cat([pooling.batch[:, None], pooling.grid_coord], dim=1).tolist()
    assert keys == sorted(map(list, {tuple(key) for key in keys}))


def test_max_is_the_largest_of_each_voxels_members() -> None:
    pooling = pool_grid(*example())
    x = torch.randn(len(pooling.parent), 6)
    for row in range(len(pooling.grid_coord)):
        assert torch.equal(pooling.max(x)[row], x[pooling.parent == row].amax(0))


def test_mean_is_the_mean_of_each_voxels_members() -> None:
    pooling = pool_grid(*example())
    x = torch.randn(len(pooling.parent), 3, dtype=torch.double)
    for row in range(len(pooling.grid_coord)):
        assert torch.allclose(pooling.mean(x)[row], x[pooling.parent == row].mean(0))


def test_gradient_of_max_reaches_the_largest_member_only() -> None:
    pooling = pool_grid(*example())
    x = torch.randn(len(pooling.parent), 6, requires_grad=True)
    pooling.max(x).sum().backward()
    is_largest = x == pooling.max(x)[pooling.parent]
    assert x.grad is not None
    assert torch.equal(x.grad, is_largest.float())


@pytest.mark.parametrize("slice_rows", [1, 10, 100, 10_000])
def test_slices_do_not_change_the_result(slice_rows: int) -> None:
    pooling = pool_grid(*example())
    down, x = GridPooling(5, 7), torch.randn(len(pooling.parent), 5)
    with torch.no_grad():
        assert torch.allclose(down(x, pooling, slice_rows), down(x, pooling), atol=1e-6)
