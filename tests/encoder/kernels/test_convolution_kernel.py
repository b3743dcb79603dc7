import sys

import pytest
import torch
from processors import cut_for, every_processor

from concerto.encoder import kernels, sparse_conv
from concerto.encoder.kernels import convolution
from concerto.encoder.kernels.processor import Processor, this_processor
from concerto.encoder.sparse_conv import SubmanifoldConv, find_neighbors
from conftest import relative_l2

Case = tuple[SubmanifoldConv, torch.Tensor, torch.Tensor, torch.Tensor]


def case(inputs: int, outputs: int, voxels: int = 3000) -> Case:
    """A convolution, and features of voxels of two clouds in random order."""
    torch.manual_seed(0)
    grid = torch.unique(torch.randint(0, 18, (voxels, 3)), dim=0)
    grid, batch = grid.repeat(2, 1), torch.arange(2).repeat_interleave(len(grid))
    order = torch.randperm(len(grid))
    x = torch.randn(len(grid), inputs)
    return SubmanifoldConv(inputs, outputs), x, grid[order], batch[order]


@torch.no_grad()
def assert_exact(conv: SubmanifoldConv, x: torch.Tensor, *voxels: torch.Tensor) -> None:
    neighbors = find_neighbors(*voxels)
    fast = conv(x, neighbors, slice_rows=10_000)
    assert relative_l2(fast, conv.double()(x.double(), neighbors)) < 1e-6


def served(channels: int) -> bool:
    return kernels.find_convolution(channels) is not None


@pytest.mark.parametrize(
    ("inputs", "outputs"), [(16, 16), (48, 48), (5, 32), (64, 96), (1, 16), (32, 80), (13, 144)]
)
def test_it_is_the_convolution(inputs: int, outputs: int) -> None:
    assert served(outputs)
    assert_exact(*case(inputs, outputs))


@every_processor
def test_code_for_any_processor_computes_the_same(
    processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_for(processor, convolution, monkeypatch)
    assert served(48)
    assert_exact(*case(20, 48))


def test_channels_that_fill_no_vector_go_the_plain_way() -> None:
    channels = this_processor().lanes + 1
    assert not served(channels)
    assert_exact(*case(7, channels))


def test_without_llvm_it_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "concerto.encoder.kernels.processor", None)
    kernels._has_llvm.cache_clear()
    try:
        assert not served(16)
        assert_exact(*case(16, 16))
    finally:
        kernels._has_llvm.cache_clear()


@torch.no_grad()
def test_results_depend_on_neither_threads_nor_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x, *voxels = case(16, 32)
    wanted = conv(x, find_neighbors(*voxels), slice_rows=10_000)
    before = torch.get_num_threads()
    for threads, block in ((1, 100), (2, 1), (3, 977), (2, 10**6)):
        monkeypatch.setattr(sparse_conv, "BLOCK", block)
        torch.set_num_threads(threads)
        try:
            given = conv(x, find_neighbors(*voxels), slice_rows=10_000)
        finally:
            torch.set_num_threads(before)
        assert torch.equal(given, wanted)


def test_no_two_blocks_have_a_target_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_conv, "BLOCK", 100)
    _, _, *voxels = case(1, 1)
    neighbors = find_neighbors(*voxels)
    owner = torch.full((len(voxels[0]),), -1)
    for number, block in enumerate(neighbors.blocks):
        for way, rows in enumerate((neighbors.behind, neighbors.ahead)):
            targets = torch.cat([rows[begin:end] for begin, end in block[:, way].tolist()])
            assert set(owner[targets].tolist()) <= {-1, number}
            owner[targets] = number
    # And together they are all pairs.
    starts, ends = neighbors.blocks[:, :, :, 0], neighbors.blocks[:, :, :, 1]
    assert (ends - starts).sum((0, 1)).tolist() == [len(neighbors.behind)] * 2


@torch.no_grad()
def test_a_voxel_without_neighbours_gets_only_its_own() -> None:
    conv, grid = SubmanifoldConv(16, 16), torch.tensor([[0, 0, 0], [5, 5, 5]])
    x = torch.randn(2, 16)
    out = conv(x, find_neighbors(grid, torch.zeros(2, dtype=torch.int64)), slice_rows=10)
    assert torch.equal(out, torch.nn.functional.linear(x, conv.weight[:, 1, 1, 1], conv.bias))


@pytest.mark.parametrize("inputs", [16, 48, 5])
def test_gradients_are_those_of_the_convolution(inputs: int) -> None:
    conv, x, *voxels = case(inputs, 32)
    neighbors = find_neighbors(*voxels)
    assert _has_code_for(conv, x) == (inputs != 5)
    seed = torch.randn(len(x), 32)
    x.requires_grad_()
    ours = torch.autograd.grad(conv(x, neighbors), (x, conv.weight, conv.bias), seed)
    conv, x = conv.double(), x.detach().double().requires_grad_()
    exact = torch.autograd.grad(conv(x, neighbors), (x, conv.weight, conv.bias), seed.double())
    for our, wanted in zip(ours, exact, strict=True):
        assert relative_l2(our, wanted) < 1e-6


def test_gradients_of_functions_are_the_same() -> None:
    conv, x, *voxels = case(16, 16)
    neighbors = find_neighbors(*voxels)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return conv(x, neighbors).square().sum()

    x.requires_grad_()
    (wanted,) = torch.autograd.grad(loss(x), x)
    assert torch.equal(torch.func.grad(loss)(x.detach()), wanted)


def test_gradients_of_gradients_are_those_of_the_convolution() -> None:
    def second(conv: SubmanifoldConv, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = x.detach().requires_grad_()
        loss = conv(x, neighbors).tanh().sum()
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), (x, conv.weight))

    conv, x, *voxels = case(16, 16)
    neighbors = find_neighbors(*voxels)
    ours = second(conv, x)
    for our, wanted in zip(ours, second(conv.double(), x.double()), strict=True):
        assert relative_l2(our, wanted) < 1e-5


def test_under_autocast_products_are_in_half_precision() -> None:
    conv, x, *voxels = case(16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert not _has_code_for(conv, x)
        out = conv(x, find_neighbors(*voxels))
    assert out.dtype == torch.bfloat16


def _has_code_for(conv: SubmanifoldConv, x: torch.Tensor) -> bool:
    return sparse_conv._has_code(x, conv.weight, x.shape[1], len(conv.bias))
