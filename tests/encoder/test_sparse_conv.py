import pytest
import torch
from torch.nn import functional as F

from concerto.encoder.sparse_conv import (
    SubmanifoldConv,
    find_neighbors,
    spconv_neighbors,
)
from concerto.errors import InputError
from conftest import relative_l2


def random_voxels(clouds: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Distinct voxels of several clouds in an 8^3 grid, in random order."""
    torch.manual_seed(1)
    rows = torch.unique(torch.randint(0, 8, (400, 3)).repeat(clouds, 1), dim=0)
    grid = rows.repeat(clouds, 1)
    batch = torch.arange(clouds).repeat_interleave(len(rows))
    keep = torch.randperm(len(grid))[: len(grid) * 2 // 3]
    return grid[keep], batch[keep]


def dense(conv: SubmanifoldConv, x: torch.Tensor, grid: torch.Tensor, batch: torch.Tensor):
    """The same with torch's dense convolution, read at the occupied voxels."""
    x_y_z = tuple(grid.unbind(1))
    volume = x.new_zeros(int(batch.max()) + 1, x.shape[1], 8, 8, 8)
    volume[(batch, slice(None), *x_y_z)] = x
    out = F.conv3d(volume, conv.weight.permute(0, 4, 1, 2, 3), conv.bias, padding=1)
    return out[(batch, slice(None), *x_y_z)]


def test_equals_a_dense_convolution_at_occupied_voxels() -> None:
    grid, batch = random_voxels()
    conv = SubmanifoldConv(5, 7).double()
    x = torch.randn(len(grid), 5, dtype=torch.double)
    assert relative_l2(conv(x, find_neighbors(grid, batch)), dense(conv, x, grid, batch)) < 1e-14


@pytest.mark.parametrize("slice_rows", [1, 7, 100, 10_000])
def test_slices_do_not_change_the_result(slice_rows: int) -> None:
    grid, batch = random_voxels()
    conv = SubmanifoldConv(5, 7).double()
    x = torch.randn(len(grid), 5, dtype=torch.double)
    neighbors = find_neighbors(grid, batch)
    with torch.no_grad():
        assert relative_l2(conv(x, neighbors, slice_rows), conv(x, neighbors)) < 1e-14


def test_gradients_equal_those_of_a_dense_convolution() -> None:
    grid, batch = random_voxels()
    conv = SubmanifoldConv(5, 7).double()
    x = torch.randn(len(grid), 5, dtype=torch.double, requires_grad=True)
    seed = torch.randn(len(grid), 7, dtype=torch.double)
    inputs = (x, conv.weight, conv.bias)
    ours = torch.autograd.grad(conv(x, find_neighbors(grid, batch)), inputs, seed)
    theirs = torch.autograd.grad(dense(conv, x, grid, batch), inputs, seed)
    for our, their in zip(ours, theirs, strict=True):
        assert relative_l2(our, their) < 1e-13


def test_neighbours_never_cross_clouds_or_the_border() -> None:
    # Voxels that would be neighbours if coordinates or clouds ran into one another.
    grid = torch.tensor([[0, 0, 0], [0, 0, 3], [0, 3, 0], [3, 0, 0], [3, 3, 3]])
    batch = torch.tensor([1, 0, 0, 0, 0])
    neighbors = find_neighbors(grid, batch)
    assert len(neighbors.ahead) == 0


def test_a_lone_voxel_sees_only_the_kernels_centre() -> None:
    conv = SubmanifoldConv(4, 4)
    x = torch.randn(1, 4)
    out = conv(x, find_neighbors(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1).long()))
    assert torch.allclose(out, F.linear(x, conv.weight[:, 1, 1, 1], conv.bias))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_the_sum_once(dtype: torch.dtype) -> None:
    grid, batch = random_voxels()
    conv = SubmanifoldConv(16, 16)
    x = torch.randn(len(grid), 16).to(dtype)
    neighbors = find_neighbors(grid, batch)
    half = SubmanifoldConv(16, 16).to(dtype)
    half.load_state_dict(conv.state_dict())
    conv.load_state_dict(half.state_dict())
    wanted = conv(x.float(), neighbors)
    with torch.no_grad():
        sliced = half(x, neighbors, 100)
    for out in (half(x, neighbors), sliced):
        assert out.dtype == dtype
        assert relative_l2(out, wanted) < 2 * torch.finfo(dtype).eps


def test_spconv_on_a_cpu_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r'spconv.*CUDA.*cpu.*backend="torch"'):
        spconv_neighbors(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1).long(), 1)
