"""The encoder: Point Transformer V3 without a decoder, as Sonata and Concerto train it.

Voxels are embedded, then pass through stages of blocks; each stage after the first begins by
pooling to voxels of twice the edge. What a level needs to know of its geometry (curves, patches,
neighbours) is worked out once, in `Layout`, and shared by its blocks.

Sources: arXiv 2312.10035 (PTv3), 2503.16429 (Sonata), 2510.23607 (Concerto).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from concerto.config import ConcertoConfig
from concerto.encoder.attention import PatchAttention, Patches
from concerto.encoder.cpu import at_full_speed, products_for
from concerto.encoder.initial import draw_linear
from concerto.encoder.layout import Geometry, InPlace, Layout, cut
from concerto.encoder.pooling import GridPooling, Pooling, pool_grid
from concerto.encoder.random import hash_uniform
from concerto.encoder.serialization import ORDERS
from concerto.encoder.sparse_conv import (
    Neighbors,
    SpconvNeighbors,
    SubmanifoldConv,
    find_neighbors,
    import_spconv,
    spconv_neighbors,
)
from concerto.errors import ConfigError, InputError
from concerto.grids import MAX_CLOUDS, MAX_DEPTH, cloud_of_row

Backend = Literal["torch", "spconv"]


@dataclass(frozen=True)
class EncodedLevel:
    """What one stage leaves behind, for n voxels of B clouds.

    feat: (n, C). grid_coord: (n, 3) int64. offsets: (B,) int64 ends of the clouds' rows.
    pooling: how these voxels fall into the next coarser level; None at the coarsest.
    """

    feat: Tensor
    grid_coord: Tensor
    offsets: Tensor
    pooling: Pooling | None


class PointTransformer(nn.Module):
    """(n, 9) voxel features → one `EncodedLevel` a stage, fine to coarse.

    backend: "torch" works everywhere; "spconv" runs convolutions with spconv and, where it is
    installed, pooling with torch-scatter, on CUDA.
    activation_checkpointing: set it to run each block a second time in the backward pass rather
    than keep what is inside: less memory for more time, with the same result.
    """

    def __init__(self, config: ConcertoConfig, backend: Backend = "torch") -> None:
        super().__init__()
        self.config = config
        self.backend = backend
        self.activation_checkpointing = False
        self.embedding = Embedding(config.in_channels, config.channels[0], config.mask_token)
        drop_rates = iter(torch.linspace(0, config.drop_path, sum(config.depths), device="cpu"))
        self.stages = nn.ModuleList(
            Stage(config, stage, [float(next(drop_rates)) for _ in range(depth)])
            for stage, depth in enumerate(config.depths)
        )
        draw_linear(self)

    @property
    def backend(self) -> Backend:
        """Who computes convolutions and pooling."""
        return self._backend

    @backend.setter
    def backend(self, backend: Backend) -> None:
        check_backend(backend)
        self._backend: Backend = backend
        self._torch_scatter = backend == "spconv" and _has_torch_scatter()

    def forward(
        self,
        feat: Tensor,
        grid_coord: Tensor,
        offsets: Tensor,
        mask: Tensor | None = None,
        *,
        seeds: Tensor | None = None,
        slice_rows: int | None = None,
    ) -> list[EncodedLevel]:
        """Encode clouds that lie one after another, one row a voxel.

        feat: (n, 9), coordinates (m), colour (0-1), unit normal. grid_coord: (n, 3) int64 >= 0.
        offsets: (B,) int64, where each cloud's rows end. mask: (n,) bool, voxels that the learned
        token replaces. seeds: (B,) int64, what the order of the curves and the drop path of each
        cloud are drawn from in training; drawn themselves where not given. slice_rows: in
        inference, work on at most about that many rows at a time where rows are independent;
        bounds memory, and changes the result by rounding at most.

        Raises InputError for shapes or grids that no curve fits.
        """
        _check(feat, grid_coord, offsets, self.config.in_channels)
        if mask is not None:
            self._check_mask(mask, len(feat))
        if not self.training:
            seeds = None
        elif seeds is None:
            seeds = torch.randint(2**62, (len(offsets),)).to(feat.device)
        with products_for(feat):
            return self._encode(feat, grid_coord, offsets, mask, seeds, slice_rows)

    def _encode(
        self,
        feat: Tensor,
        grid_coord: Tensor,
        offsets: Tensor,
        mask: Tensor | None,
        seeds: Tensor | None,
        slice_rows: int | None,
    ) -> list[EncodedLevel]:
        batch, dtype = cloud_of_row(offsets, len(feat)), self.embedding.norm.weight.dtype
        x = at_full_speed(self.embedding)(feat, mask)
        in_place = InPlace.if_possible(x, seeds, slice_rows)
        recompute = self.activation_checkpointing and torch.is_grad_enabled()
        levels: list[EncodedLevel] = []
        pooling: Pooling | None = None
        for number, stage in enumerate(self.stages):
            if pooling is not None:
                grid_coord, batch = pooling.grid_coord, pooling.batch
                offsets = torch.searchsorted(
                    batch, torch.arange(len(offsets), device=batch.device), right=True
                )
            geometry = Geometry(grid_coord, batch, offsets)
            patches, row_seeds = cut(geometry, self.config, number, seeds)
            neighbors = self._neighbors(geometry)
            layout = Layout(patches, neighbors, in_place, row_seeds, recompute)
            x = stage(x, pooling, layout)
            last = number + 1 == len(self.stages)
            pooling = None if last else pool_grid(grid_coord, batch, self._torch_scatter)
            levels.append(EncodedLevel(x.to(dtype), grid_coord, offsets, pooling))
        return levels

    def _check_mask(self, mask: Tensor, rows: int) -> None:
        if not self.config.mask_token:
            raise InputError("A mask was given, and this encoder has no mask token.")
        if mask.shape != (rows,) or mask.dtype != torch.bool:
            raise InputError(
                f"mask is {mask.dtype} {tuple(mask.shape)}; it must be bool ({rows},), like feat."
            )

    def _neighbors(self, level: Geometry) -> Neighbors | SpconvNeighbors:
        if self.backend == "spconv":
            return spconv_neighbors(level.grid_coord, level.batch, len(level.offsets))
        return find_neighbors(level.grid_coord, level.batch)


class Embedding(nn.Module):
    """Linear, layer norm, GELU: (n, 9) → (n, C); masked rows become the learned token.

    The linear map is computed in float32 at least, whatever the weights' dtype: half precision
    would round a coordinate of 5 m to 2 cm.
    """

    def __init__(self, in_channels: int, channels: int, mask_token: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.mask_token = nn.Parameter(torch.zeros(1, channels)) if mask_token else None

    def forward(self, feat: Tensor, mask: Tensor | None) -> Tensor:
        x = _gelu(self.norm(self._map(feat).to(self.norm.weight.dtype)))
        if self.mask_token is None:
            return x
        if mask is None:
            # In the graph all the same: DDP waits for a gradient of every parameter.
            return x + 0 * self.mask_token.to(x.dtype) if torch.is_grad_enabled() else x
        return torch.where(mask[:, None], self.mask_token.to(x.dtype), x)

    def _map(self, feat: Tensor) -> Tensor:
        weight, bias = self.linear.weight, self.linear.bias
        if not isinstance(weight, Tensor):
            return self.linear(feat)  # quantised, which multiplies in its own way
        precise = torch.promote_types(weight.dtype, torch.float32)
        with torch.autocast(feat.device.type, enabled=False):
            return F.linear(feat.to(precise), weight.to(precise), bias.to(precise))


class Stage(nn.Module):
    """Pooling (except in the first stage), then blocks."""

    def __init__(self, config: ConcertoConfig, number: int, drop_rates: list[float]) -> None:
        super().__init__()
        channels = config.channels[number]
        self.down = GridPooling(config.channels[number - 1], channels) if number else None
        self.blocks = nn.ModuleList(
            Block(channels, config.heads[number], config, index, rate)
            for index, rate in enumerate(drop_rates)
        )

    def forward(self, x: Tensor, pooling: Pooling | None, layout: Layout) -> Tensor:
        """x: (n, C_in) of the level before → (m, C). pooling: None in the first stage."""
        if self.down is not None:
            x = at_full_speed(self.down)(x, pooling, layout.in_place and layout.in_place.rows(x))
        for block in map(at_full_speed, self.blocks):
            if layout.recompute:
                x = checkpoint(block, x, layout, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, layout)
        return x


class Block(nn.Module):
    """x += cpe(x); x += attention(norm(x)); x += mlp(norm(x)), on (n, C).

    number: which block of its stage. drop: how often a point leaves out a branch, in training.
    """

    def __init__(
        self, channels: int, heads: int, config: ConcertoConfig, number: int, drop: float
    ) -> None:
        super().__init__()
        self.cpe = PositionalEncoding(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = PatchAttention(channels, heads, config.qkv_bias)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, round(channels * config.mlp_ratio))
        self.number = number
        self.drop = drop

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        if layout.in_place is not None:
            out = self.cpe.added_to(x, layout.neighbors, layout.in_place.rows(x))
            self.add_rest(out, layout.patches, layout.in_place)
            return out
        x = x + self.cpe(x, layout.neighbors)
        attended = self.attention(self.norm1(x), layout.patches, self.order)
        x = x + self._drop(attended, layout, branch=0)
        return x + self._drop(self.mlp(self.norm2(x)), layout, branch=1)

    @property
    def order(self) -> int:
        """The curve that its patches are cut from."""
        return self.number % len(ORDERS)

    def add_rest(self, x: Tensor, patches: Patches, in_place: InPlace) -> None:
        """What follows the convolution, for inference, added to x (n, C) in place."""
        rows = in_place.rows(x)
        self.attention.add_to(x, self.norm1, patches, self.order, rows, in_place.on_cpu)
        for part in x.split(rows):
            part += self.mlp(self.norm2(part))

    def _drop(self, x: Tensor, layout: Layout, branch: int) -> Tensor:
        """Drop path, drawn per point."""
        if layout.row_seeds is None or self.drop == 0:
            return x
        drawn = hash_uniform(layout.row_seeds, 2 * self.number + branch)
        scale = (drawn >= self.drop).to(x.dtype) / (1 - self.drop)
        return x * scale[:, None]


class PositionalEncoding(nn.Module):
    """Conditional positional encoding: submanifold convolution, linear, layer norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = SubmanifoldConv(channels, channels)
        self.linear = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, neighbors: Neighbors | SpconvNeighbors) -> Tensor:
        out: Tensor = self.norm(self.linear(self.conv(x, neighbors)))
        return out

    def added_to(
        self, x: Tensor, neighbors: Neighbors | SpconvNeighbors, slice_rows: int
    ) -> Tensor:
        """x + self(x), for inference, in slices of rows and in the memory of the convolution."""
        out: Tensor = self.conv(x, neighbors, slice_rows)
        for before, part in zip(x.split(slice_rows), out.split(slice_rows), strict=True):
            torch.add(before, self.norm(self.linear(part)), out=part)
        return out


class Mlp(nn.Module):
    """Linear, GELU, linear: (n, C) → (n, C)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(_gelu(self.fc1(x)))
        return out


def _gelu(x: Tensor) -> Tensor:
    """GELU, in place of x where autograd does not need it."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def _check(feat: Tensor, grid_coord: Tensor, offsets: Tensor, channels: int) -> None:
    rows = len(feat)
    if feat.ndim != 2 or feat.shape[1] != channels:
        raise InputError(f"feat has shape {tuple(feat.shape)}; the encoder takes (n, {channels}).")
    if grid_coord.shape != (rows, 3) or grid_coord.dtype != torch.int64:
        raise InputError(
            f"grid_coord is {grid_coord.dtype} {tuple(grid_coord.shape)}; "
            f"it must be int64 ({rows}, 3), like feat."
        )
    if rows == 0:
        raise InputError("There are no voxels to encode.")
    if len(offsets) > MAX_CLOUDS:
        raise InputError(f"{len(offsets)} clouds in one pass; at most {MAX_CLOUDS} fit.")
    if offsets.ndim != 1 or not len(offsets) or (offsets.diff() < 0).any():
        raise InputError("offsets must be (B,) int64 that rise: where each cloud's rows end.")
    if int(offsets[-1]) != rows:
        raise InputError(f"offsets end at {int(offsets[-1])}, but there are {rows} voxels.")
    low, high = int(grid_coord.min()), int(grid_coord.max())
    if low < 0 or high + 1 >= 2**MAX_DEPTH:
        raise InputError(
            f"grid_coord spans {low} to {high}; the curves need 0 to {2**MAX_DEPTH - 2}."
        )


def check_backend(backend: Backend) -> None:
    """Raise ConfigError where it is none, MissingExtraError where it is not installed."""
    if backend not in ("torch", "spconv"):
        raise ConfigError(f'backend is {backend!r}; it must be "torch" or "spconv".')
    if backend == "spconv":
        import_spconv()


def _has_torch_scatter() -> bool:
    try:
        import torch_scatter  # noqa: F401
    except ImportError:
        return False
    return True
