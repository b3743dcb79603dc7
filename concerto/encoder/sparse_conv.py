"""Submanifold convolution: a 3x3x3 kernel on occupied voxels only, where absent ones give nothing.

Which voxel neighbours which is found once a level and shared by the level's convolutions: 13 lists
of pairs, one for each offset of half the kernel; the other half is the same pairs turned round.
A convolution is then, offset by offset, gather, matrix product, add. Each list names a voxel at
most once, so nothing is added concurrently and results repeat bit for bit on any device.

On CUDA, `SpconvNeighbors` hands the same weights to spconv instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.encoder.initial import draw
from concerto.encoder.kernels import find_convolution
from concerto.errors import InputError, MissingExtraError
from concerto.grids import pack, spans

KERNEL = 27
CENTER = 13
# Products of slices have numbers of rows of so many significant bits: few sizes, since each costs
# the libraries below half a millisecond when it first comes.
SIZE_BITS = 5
# Voxels of a block: enough for its weights to be worth turning round, little enough to stay near.
BLOCK = 2048


@dataclass(frozen=True)
class Neighbors:
    """Pairs of neighbouring voxels: `behind` + offset = `ahead`.

    Kernel index 9(x+1) + 3(y+1) + (z+1) stands for the offset (x, y, z) in {-1, 0, 1}^3.
    behind, ahead: (m,) int64 rows, the pairs of kernel index 14, then 15, … 26. sizes: how many
    each has. blocks: on a CPU, (B, 13, 2, 2) int64, where the pairs of a block of voxels begin and
    end, for each index, as those behind and as those ahead; empty elsewhere.
    """

    behind: Tensor
    ahead: Tensor
    sizes: tuple[int, ...]
    blocks: Tensor

    def by_index(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Kernel indices 14 … 26, each with its pairs: rows behind and ahead."""
        lists = (self.behind.split(self.sizes), self.ahead.split(self.sizes))
        return zip(range(CENTER + 1, KERNEL), *lists, strict=True)


@dataclass(frozen=True)
class SpconvNeighbors:
    """What spconv needs of a level; its own tables are kept in `indice_dict` after first use."""

    indices: Tensor
    shape: list[int]
    clouds: int
    indice_dict: dict[str, Any] = field(default_factory=dict)


def find_neighbors(grid_coord: Tensor, batch: Tensor) -> Neighbors:
    """Look up the neighbours of every voxel.

    grid_coord: (n, 3) int64 >= 0, one row a voxel of its cloud. batch: (n,) int64.

    Raises InputError where two rows share a voxel.
    """
    extent = spans(grid_coord)
    keys, rows = torch.sort(pack(grid_coord, batch, extent))
    if (keys[1:] == keys[:-1]).any():
        raise InputError("Several rows of a cloud share a voxel; keep one row a voxel.")
    line, row = extent[1] * extent[2], extent[2]
    # Columns of three along z: behind the first lie z-1, z, z+1; the own column needs only z+1.
    columns = torch.stack([row, line - row, line, line + row])
    found = torch.full((KERNEL - 1 - CENTER, len(keys)), -1, device=keys.device)
    end = torch.cat([keys, keys.new_full((1,), -1)])
    found[0] = _next_if(end, torch.arange(1, len(keys) + 1, device=keys.device), keys + 1)
    targets = keys + columns[:, None] - 1
    place = torch.searchsorted(keys, targets)
    for step in range(3):
        hit = _next_if(end, place, targets + step)
        found[1 + step :: 3] = hit
        place = place + (hit >= 0)
    exists = found >= 0
    pairs = exists.flatten().nonzero().flatten()
    before, places = pairs % len(keys), found.flatten().index_select(0, pairs)
    sizes = exists.sum(1).tolist()
    return Neighbors(
        rows.index_select(0, before),
        rows.index_select(0, places),
        tuple(sizes),
        _blocks(exists, places, sizes),
    )


def _blocks(exists: Tensor, places: Tensor, sizes: list[int]) -> Tensor:
    """`Neighbors.blocks`.

    exists: (13, n), which voxels, in the order of keys, have one ahead. places: (m,) of those
    ahead in that order.
    """
    count = exists.shape[1]
    if exists.device.type != "cpu":
        return places.new_empty(0, len(sizes), 2, 2)
    edges = torch.arange(0, count + BLOCK, BLOCK, device="cpu").clamp(max=count)
    whole = F.pad(exists, (0, -count % BLOCK)).view(len(sizes), -1, BLOCK)
    behind = F.pad(whole.sum(2).cumsum(1), (1, 0))
    ahead = torch.stack([torch.searchsorted(own, edges) for own in places.split(sizes)])
    starts = torch.tensor([0, *accumulate(sizes[:-1])], device="cpu")
    bounds = torch.stack([behind, ahead], 2) + starts[:, None, None]
    return torch.stack([bounds[:, :-1], bounds[:, 1:]], 3).transpose(0, 1).contiguous()


def _next_if(end: Tensor, place: Tensor, wanted: Tensor) -> Tensor:
    """`place` where the key there is the wanted one, else -1."""
    return torch.where(torch.take(end, place) == wanted, place, -1)


class SubmanifoldConv(nn.Module):
    """y[p] = bias + Σ_o W[:, o] · x[voxel at p + o] over the 27 offsets o, for (n, C_in) features.

    weight: (C_out, 3, 3, 3, C_in), spatial axes x, y, z, index 0 = offset -1.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, 3, 3, 3, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        draw(self.weight, self.bias)

    def forward(
        self,
        x: Tensor,
        neighbors: Neighbors | SpconvNeighbors,
        slice_rows: int | None = None,
    ) -> Tensor:
        """x: (n, C_in) → (n, C_out). slice_rows: for inference, about so many rows at a time."""
        if isinstance(neighbors, SpconvNeighbors):
            return _spconv(x, self.weight, self.bias, neighbors)
        if slice_rows is not None:
            return self._infer(x, neighbors, slice_rows)
        kernel = self.weight.flatten(1, 3)
        out = F.linear(x, kernel[:, CENTER], self.bias)
        # One for the result, one for the gradient of x.
        if _has_code(x, self.weight, *x.shape[1:], len(self.bias)):
            added: Tensor = _NeighborSum.apply(x, kernel, neighbors)
            return out + added
        dtype = out.dtype
        # Half precision would round the sum after each offset.
        total = out.float() if dtype.itemsize == 2 else out
        for k, behind, ahead in neighbors.by_index():
            forward = F.linear(x.index_select(0, ahead), kernel[:, k])
            total.index_add_(0, behind, forward.to(total.dtype))
            backward = F.linear(x.index_select(0, behind), kernel[:, KERNEL - 1 - k])
            total.index_add_(0, ahead, backward.to(total.dtype))
        return total.to(dtype)

    def _infer(self, x: Tensor, neighbors: Neighbors, slice_rows: int) -> Tensor:
        kernel = self.weight.flatten(1, 3)
        precise = torch.promote_types(x.dtype, torch.float32)
        total = torch.empty(len(x), len(self.bias), dtype=precise, device=x.device)
        for part, out in zip(x.split(slice_rows), total.split(slice_rows), strict=True):
            out.copy_(F.linear(part, kernel[:, CENTER], self.bias))
        if _has_code(x, self.weight, len(self.bias)):
            _add_by_code(total, x, kernel, neighbors)
        else:
            _add_in_slices(total, x, kernel.transpose(0, 1), neighbors, slice_rows)
        return total.to(x.dtype)


class _NeighborSum(torch.autograd.Function):
    """What neighbours give to each voxel: the convolution without the kernel's centre."""

    @staticmethod
    def forward(x: Tensor, kernel: Tensor, neighbors: Neighbors) -> Tensor:
        """x: (n, C_in). kernel: (C_out, 27, C_in)."""
        total = x.new_zeros(len(x), len(kernel))
        _add_by_code(total, x, kernel, neighbors)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Neighbors], output: Tensor) -> None:
        """Keep what the gradients are made of."""
        x, kernel, ctx.neighbors = inputs
        ctx.save_for_backward(x, kernel)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, kernel), neighbors = ctx.saved_tensors, ctx.neighbors
        for_x = for_kernel = None
        if ctx.needs_input_grad[0]:
            # The same with inputs for outputs, and every offset turned round.
            for_x = _NeighborSum.apply(grad, kernel.flip(1).transpose(0, 2), neighbors)
        if ctx.needs_input_grad[1]:
            for_kernel = torch.zeros_like(kernel)
            for k, *rows in neighbors.by_index():
                near, far = ((grad.index_select(0, r), x.index_select(0, r)) for r in rows)
                for_kernel[:, k] = near[0].T @ far[1]
                for_kernel[:, KERNEL - 1 - k] = far[0].T @ near[1]
        return for_x, for_kernel, None


def _has_code(x: Tensor, weight: Tensor, *channels: int) -> bool:
    """Whether `kernels` has code for results of so many channels."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and all(find_convolution(count) is not None for count in channels)
    )


def _add_by_code(total: Tensor, x: Tensor, kernel: Tensor, neighbors: Neighbors) -> None:
    """Add what neighbours give. kernel: (C_out, 27, C_in)."""
    add_neighbors = find_convolution(len(kernel))
    assert add_neighbors is not None
    x, kernel = x.detach().contiguous(), kernel.detach().contiguous()
    add_neighbors(total, x, kernel, neighbors.behind, neighbors.ahead, neighbors.blocks)


def _add_in_slices(
    total: Tensor, x: Tensor, kernel: Tensor, neighbors: Neighbors, slice_rows: int
) -> None:
    """Add what neighbours give by a part of each list of pairs at a time: all of a part is near in
    memory.

    kernel: (27, C_out, C_in).
    """
    slices = math.ceil(len(x) / slice_rows)
    for number in range(slices):
        for k, *lists in neighbors.by_index():
            begin, end = (len(lists[0]) * n // slices for n in (number, number + 1))
            behind, ahead = (rows[begin:end] for rows in lists)
            _add_products(total, behind, x, ahead, kernel[k])
            _add_products(total, ahead, x, behind, kernel[KERNEL - 1 - k])


def _add_products(total: Tensor, targets: Tensor, x: Tensor, sources: Tensor, w: Tensor) -> None:
    """total[targets] += x[sources] wᵀ."""
    count = len(sources)
    if count:
        step = 1 << max(0, count.bit_length() - SIZE_BITS)
        rows = x.new_empty(math.ceil(count / step) * step, x.shape[1])
        torch.index_select(x, 0, sources, out=rows[:count])
        total.index_add_(0, targets, F.linear(rows, w)[:count].to(total.dtype))


def spconv_neighbors(grid_coord: Tensor, batch: Tensor, clouds: int) -> SpconvNeighbors:
    """The level in spconv's terms. Raises InputError where the voxels are not on a CUDA device."""
    if grid_coord.device.type != "cuda":
        raise InputError(
            f'backend="spconv" runs on CUDA, and the model is on {grid_coord.device}. '
            'Move it with model.to("cuda"), or use backend="torch".'
        )
    indices = torch.cat([batch[:, None], grid_coord], dim=1).int().contiguous()
    # Room beyond the last voxel, as the published code leaves it.
    shape = (grid_coord.amax(0) + 96).tolist()
    return SpconvNeighbors(indices, shape, clouds)


def _spconv(x: Tensor, weight: Tensor, bias: Tensor, level: SpconvNeighbors) -> Tensor:
    spconv = import_spconv()
    with torch.device("meta"):  # its own weights are not wanted
        conv = spconv.SubMConv3d(
            weight.shape[-1], weight.shape[0], 3, bias=False, indice_key="level"
        )
    del conv.weight  # so that what takes its place need not be a Parameter
    # spconv has no kernels for bfloat16.
    dtype = torch.float32 if x.dtype == torch.bfloat16 else x.dtype
    conv.weight = weight.to(dtype)
    conv.training = torch.is_grad_enabled()  # else spconv leaves out what backward needs
    voxels = spconv.SparseConvTensor(
        x.to(dtype).contiguous(), level.indices, level.shape, level.clouds
    )
    voxels.indice_dict = level.indice_dict
    out = conv(voxels)
    level.indice_dict.update(out.indice_dict)
    features: Tensor = out.features.to(x.dtype)
    return features + bias.to(x.dtype)


def import_spconv() -> Any:
    """spconv.pytorch, or MissingExtraError that says how to get it."""
    try:
        import spconv.pytorch
    except ImportError as error:
        raise MissingExtraError(
            'backend="spconv" needs spconv: pip install "concerto-3d[cuda]" '
            "(any spconv-cu* that fits your CUDA serves)."
        ) from error
    return spconv.pytorch
