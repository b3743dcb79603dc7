"""What losses read off an encoding: features put together at one level, and quantities pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto.encoder import EncodedLevel


@dataclass(frozen=True)
class LevelPoints:
    """One level's voxels of B clouds.

    feat: (n, C). coord: (n, 3) metres before augmentation. offsets: (B,) int64 ends of the clouds.
    """

    feat: Tensor
    coord: Tensor
    offsets: Tensor


def level_points(levels: list[EncodedLevel], up: int, origin_coord: Tensor) -> LevelPoints:
    """The level `up` below the coarsest, with its features and those of all coarser levels.

    origin_coord: (n, 3) of the finest level's voxels.
    """
    stage = len(levels) - 1 - up
    coord = pool_mean(levels, stage, origin_coord)
    return LevelPoints(up_cast(levels, up), coord, levels[stage].offsets)


def up_cast(levels: list[EncodedLevel], up: int) -> Tensor:
    """Features (n, ΣC) of the level `up` below the coarsest and, after them, of what each voxel
    lies in."""
    parts: list[Tensor] = []
    rows: Tensor | None = None
    for level in levels[len(levels) - 1 - up :]:
        parts.append(level.feat if rows is None else level.feat.index_select(0, rows))
        if level.pooling is not None:
            parent = level.pooling.parent
            rows = parent if rows is None else parent.index_select(0, rows)
    return torch.cat(parts, dim=1)


def up_cast_width(channels: Sequence[int], up: int) -> int:
    """Channels of `up_cast`. channels: of each stage, fine to coarse."""
    return sum(channels[len(channels) - 1 - up :])


def pool_mean(levels: list[EncodedLevel], stage: int, values: Tensor) -> Tensor:
    """Means over each voxel's members, level after level: (n, C) at the finest → (m, C)."""
    for level in levels[:stage]:
        assert level.pooling is not None
        values = level.pooling.mean(values)
    return values


def pool_seen(levels: list[EncodedLevel], stage: int, pixels: Tensor) -> Tensor:
    """The same for positions in images, over the members that an image sees.

    pixels: (n, I, 2), negative where unseen → (m, I, 2), -1 where no member is seen.
    """
    for level in levels[:stage]:
        assert level.pooling is not None
        seen = (pixels >= 0).all(2, keepdim=True)
        total = level.pooling.mean((pixels * seen).flatten(1)).view(-1, *pixels.shape[1:])
        share = level.pooling.mean(seen.flatten(1).to(pixels.dtype))[:, :, None]
        pixels = torch.where(share > 0, total / share, -1.0)
    return pixels
