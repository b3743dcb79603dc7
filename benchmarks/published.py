"""The encoder as it was published, written plainly: what "times faster" is measured against.

Explicit K x K softmax attention, a scatter for each of the 27 kernel offsets, pooling by
`torch.unique`, curves walked bit by bit. It takes a `PointTransformer`'s weights and gives the
same features; `benchmarks.encoder` checks that before it measures.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.encoder.attention import PatchAttention
from concerto.encoder.point_transformer import Block, PointTransformer
from concerto.encoder.pooling import GridPooling
from concerto.encoder.sparse_conv import SubmanifoldConv

AXES = 3
OFFSETS = torch.cartesian_prod(*[torch.arange(-1, 2)] * AXES)

Pairs = list[tuple[Tensor, Tensor]]


@torch.no_grad()
def encode(encoder: PointTransformer, feat: Tensor, grid_coord: Tensor) -> list[Tensor]:
    """The features (n, C) of each level, of one cloud: (n, 9) and (n, 3) int64."""
    x = encoder.embedding(feat, None)
    levels: list[Tensor] = []
    for number, stage in enumerate(encoder.stages):
        if stage.down is not None:
            x, grid_coord = pool(stage.down, x, grid_coord)
        orders = [code.argsort(stable=True) for code in curves(grid_coord)]
        pairs = kernel_pairs(grid_coord)
        for index, block in enumerate(stage.blocks):
            order = orders[index % len(orders)]
            x = run_block(block, x, pairs, order, encoder.config.patch_size[number])
        levels.append(x)
    return levels


def run_block(block: Block, x: Tensor, pairs: Pairs, order: Tensor, patch_size: int) -> Tensor:
    """Positional encoding, attention, MLP: (n, C) → (n, C)."""
    x = x + block.cpe.norm(block.cpe.linear(convolve(block.cpe.conv, x, pairs)))
    x = x + attend(block.attention, block.norm1(x), order, patch_size)
    return x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))


def attend(attention: PatchAttention, x: Tensor, order: Tensor, patch_size: int) -> Tensor:
    """Softmax over whole K x K matrices; the last patch borrows from the points before it."""
    rows, channels = x.shape
    length = min(patch_size, rows)
    place = torch.arange(rows + -rows % length)
    source = order[torch.where(place < rows, place, place - length)]
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(rows)
    qkv = attention.qkv(x)[source].reshape(
        -1, length, 3, attention.heads, channels // attention.heads
    )
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    out = torch.softmax(scores, dim=-1) @ value
    return attention.proj(out.transpose(1, 2).reshape(-1, channels)[inverse])


def convolve(conv: SubmanifoldConv, x: Tensor, pairs: Pairs) -> Tensor:
    """Gather, multiply, scatter, one kernel offset after another."""
    out = conv.bias.expand(len(x), -1).clone()
    for weight, (target, source) in zip(conv.weight.flatten(1, 3).unbind(1), pairs, strict=True):
        out.index_add_(0, target, x[source] @ weight.T)
    return out


def kernel_pairs(grid_coord: Tensor) -> Pairs:
    """For each kernel offset the rows that have a neighbour there, and the neighbours."""
    extent = grid_coord.amax(0) + 3
    keys, rows = _flat(grid_coord + 1, extent).sort()
    pairs = []
    for offset in OFFSETS:
        wanted = _flat(grid_coord + 1 + offset, extent)
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        target = (keys[place] == wanted).nonzero().flatten()
        pairs.append((target, rows[place[target]]))
    return pairs


def pool(down: GridPooling, x: Tensor, grid_coord: Tensor) -> tuple[Tensor, Tensor]:
    """Halve the grid and take maxima: features (m, C) and voxels (m, 3)."""
    coarse, parent, members = torch.unique(
        grid_coord >> 1, dim=0, return_inverse=True, return_counts=True
    )
    order = parent.argsort(stable=True)
    largest = torch.segment_reduce(down.linear(x)[order], "max", lengths=members)
    return F.gelu(down.norm(largest)), coarse


def curves(grid_coord: Tensor) -> list[Tensor]:
    """Codes along Morton and Hilbert curves, each as is and with x and y exchanged."""
    depth = int(grid_coord.max() + 1).bit_length()
    exchanged = grid_coord[:, [1, 0, 2]]
    return [
        _interleave(grid_coord, depth),
        _interleave(exchanged, depth),
        _interleave(_hilbert(grid_coord, depth), depth),
        _interleave(_hilbert(exchanged, depth), depth),
    ]


def _interleave(coord: Tensor, depth: int) -> Tensor:
    code = torch.zeros_like(coord[:, 0])
    for bit in reversed(range(depth)):
        for axis in range(AXES):
            code = code << 1 | coord[:, axis] >> bit & 1
    return code


def _hilbert(coord: Tensor, depth: int) -> Tensor:
    """J. Skilling, "Programming the Hilbert curve", 2004: coordinates whose bits interleave."""
    axes = list(coord.unbind(1))
    for bit in reversed(range(1, depth)):
        below = (1 << bit) - 1
        for axis in range(AXES):
            is_set = (axes[axis] >> bit & 1).bool()
            exchange = (axes[0] ^ axes[axis]) & below
            first = torch.where(is_set, axes[0] ^ below, axes[0] ^ exchange)
            axes[axis] = torch.where(is_set, axes[axis], axes[axis] ^ exchange)
            axes[0] = first
    for axis in range(1, AXES):
        axes[axis] = axes[axis] ^ axes[axis - 1]
    flips = torch.zeros_like(axes[0])
    for bit in reversed(range(1, depth)):
        is_set = (axes[-1] >> bit & 1).bool()
        flips = torch.where(is_set, flips ^ (1 << bit) - 1, flips)
    return torch.stack([axis ^ flips for axis in axes], dim=1)


def _flat(grid_coord: Tensor, extent: Tensor) -> Tensor:
    x, y, z = grid_coord.unbind(1)
    return (x * extent[1] + y) * extent[2] + z
