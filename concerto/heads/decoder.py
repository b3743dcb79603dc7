"""The decoder of Point Transformer V3: from the coarsest level down, each level's encoding added.

Source: arXiv 2312.10035, in the form that Sonata and Concerto probe with (layer norm everywhere).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.config import ConcertoConfig
from concerto.encoder.cpu import products_for
from concerto.encoder.initial import draw_linear
from concerto.encoder.layout import Geometry, InPlace, Layout, cut
from concerto.encoder.point_transformer import Block
from concerto.encoder.sparse_conv import find_neighbors
from concerto.errors import ConfigError
from concerto.grids import cloud_of_row
from concerto.heads.configs import DecoderConfig
from concerto.hierarchy import Hierarchy, Level


class DecoderHead(nn.Module):
    """Hierarchy → logits (n, K) of the finest voxels: unpooling and blocks a stage, then linear."""

    def __init__(self, config: DecoderConfig, encoder: ConcertoConfig, classes: int) -> None:
        """Raises ConfigError where the decoder has not one stage less than the encoder."""
        super().__init__()
        _check(config, encoder)
        self.encoder = encoder
        widths = [*config.channels, encoder.channels[-1]]
        rates = torch.linspace(0, encoder.drop_path, sum(config.depths), device="cpu").tolist()
        # The deeper a block, the more often its branches are dropped, as in the encoder.
        drops = [[rates.pop(0) for _ in range(depth)][::-1] for depth in config.depths]
        self.stages = nn.ModuleList(
            DecoderStage(
                encoder, widths[stage + 1], encoder.channels[stage], width, heads, drops[stage]
            )
            for stage, (width, heads) in enumerate(zip(config.channels, config.heads, strict=True))
        )
        draw_linear(self.stages)
        self.linear = nn.Linear(config.channels[0], classes)

    def forward(self, hierarchy: Hierarchy, seeds: Tensor | None = None) -> Tensor:
        """seeds: (B,) int64, what the order of the curves and the drop path of each cloud are drawn
        from in training; drawn themselves where not given."""
        levels = hierarchy.levels
        if not self.training:
            seeds = None
        elif seeds is None:
            clouds = len(levels[0].offsets)
            seeds = torch.randint(2**62, (clouds,)).to(levels[0].offsets.device)
        x = levels[-1].feat.to(self.linear.weight.dtype)
        in_place = InPlace.if_possible(x, seeds, slice_rows=None)
        with products_for(x):
            for number in range(len(self.stages) - 1, -1, -1):
                level = levels[number]
                layout = self._layout(level, number, seeds, in_place)
                x = self.stages[number](x, level, layout)
            logits: Tensor = self.linear(x)
        return logits

    def _layout(
        self, level: Level, number: int, seeds: Tensor | None, in_place: InPlace | None
    ) -> Layout:
        batch = cloud_of_row(level.offsets, len(level.feat))
        geometry = Geometry(level.grid_coord, batch, level.offsets)
        patches, row_seeds = cut(geometry, self.encoder, number, seeds)
        neighbors = find_neighbors(level.grid_coord, batch)
        return Layout(patches, neighbors, in_place, row_seeds, recompute=False)


class DecoderStage(nn.Module):
    """Unpooling, then blocks."""

    def __init__(
        self,
        encoder: ConcertoConfig,
        coarser: int,
        skipped: int,
        channels: int,
        heads: int,
        drops: list[float],
    ) -> None:
        super().__init__()
        self.up = GridUnpooling(coarser, skipped, channels)
        self.blocks = nn.ModuleList(
            Block(channels, heads, encoder, number, drop) for number, drop in enumerate(drops)
        )

    def forward(self, x: Tensor, level: Level, layout: Layout) -> Tensor:
        """x: (m, C) of the coarser level → (n, C') of this one."""
        x = self.up(x, level)
        for block in self.blocks:
            x = block(x, layout)
        return x


class GridUnpooling(nn.Module):
    """Linear, layer norm, GELU of the coarser level, and of what the encoder made of this one; the
    first copied down, and both added."""

    def __init__(self, coarser: int, skipped: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(coarser, channels)
        self.norm = nn.LayerNorm(channels)
        self.skip_linear = nn.Linear(skipped, channels)
        self.skip_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        assert level.parent is not None
        coarse = F.gelu(self.norm(self.linear(x)))
        skipped = F.gelu(self.skip_norm(self.skip_linear(level.feat.to(x.dtype))))
        return skipped + coarse.index_select(0, level.parent)


def _check(config: DecoderConfig, encoder: ConcertoConfig) -> None:
    wanted = encoder.stages - 1
    lengths = [len(config.depths), len(config.channels), len(config.heads)]
    if lengths != [wanted] * 3:
        raise ConfigError(
            f"The decoder has {lengths[0]} depths, {lengths[1]} channels and {lengths[2]} heads; "
            f"over an encoder of {encoder.stages} stages it needs {wanted} of each."
        )
    for channels, heads in zip(config.channels, config.heads, strict=True):
        if heads < 1 or channels < 1 or channels % heads:
            raise ConfigError(f"{heads} heads cannot share the decoder's {channels} channels.")
