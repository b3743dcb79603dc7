"""Encoding anew only where a cloud changed, with the rest as it was found before.

What every block of every stage was given is kept. Where voxels changed, a block works out these
rows alone, but in the surroundings that they have in the whole cloud: their neighbours and the
points of their patches come with what is kept of them. So nothing is cut off at the region's edge;
what differs from encoding everything is that rows elsewhere do not learn of the change. Coarse
stages look across a room and cost little: there the rows around are worked out anew too.

Voxels are held by their place on a pinned grid, so curves run as they did, and patches shift
by no more than the voxels that came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.encoder.attention import Patches
from concerto.encoder.cpu import at_full_speed, infers_on_cpu, products_for
from concerto.encoder.layout import Geometry, InPlace, cut
from concerto.encoder.point_transformer import Block, EncodedLevel, PointTransformer, Stage
from concerto.encoder.pooling import Pooling, pool_grid
from concerto.encoder.sparse_conv import CENTER, SubmanifoldConv, find_neighbors

# Bits of an axis in a key: the grid's 16 and one to spare for cells beside it.
BITS = 17
# A region is told in cells of 8 voxels, 16 cm. Rows of a stage are worked out anew in the region,
# and so many cells around: of 16 cm, or a voxel's edge where that is more.
REGION = 3
AROUND = (0, 0, 0, 1, 1)
# Patches that are attended to at a time, those with about as many queries together.
TOGETHER = 4


@dataclass(frozen=True)
class Known:
    """What a stage was given and gave, for n voxels.

    keys: (n,) int64, sorted. inputs: (n, C) of each block. attended: (n, C) that each block's
    attention saw, before the norm. feat: (n, C), the stage's output.
    """

    keys: Tensor
    inputs: list[Tensor]
    attended: list[Tensor]
    feat: Tensor

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (m,) of keys (m,), and (m,) whether they are known."""
        at = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return at, self.keys[at] == keys

    def at(self, rows: Tensor, keys: Tensor) -> Known:
        """A copy, rows (m,) of it, as that of keys (m,)."""
        return Known(
            keys,
            [x.index_select(0, rows) for x in self.inputs],
            [x.index_select(0, rows) for x in self.attended],
            self.feat.index_select(0, rows),
        )


Encoded = tuple[list[EncodedLevel], list[Known]]


def cell_keys(grid_coord: Tensor) -> Tensor:
    """(n,) int64 that sort as the cells (n, 3) do; a neighbour's is a constant away."""
    x, y, z = grid_coord.unbind(1)
    return (x + 1) << 2 * BITS | (y + 1) << BITS | (z + 1)


def encode_whole(encoder: PointTransformer, feat: Tensor, grid_coord: Tensor) -> Encoded:
    """The levels of one cloud, as the encoder makes them, with what is to be kept of them.

    feat: (n, 9), grid_coord: (n, 3), sorted by x, y, z.
    """
    levels: list[EncodedLevel] = []
    known: list[Known] = []
    in_place = InPlace(infers_on_cpu(feat), slice_rows=None)
    with products_for(feat):
        for number, stage, geometry, pooling, below in _stages(encoder, grid_coord):
            x = (
                at_full_speed(encoder.embedding)(feat, None)
                if below is None
                else _pooled(stage, known[-1].feat, below)
            )
            patches, _ = cut(geometry, encoder.config, number, None)
            neighbors = find_neighbors(geometry.grid_coord, geometry.batch)
            inputs, attended = [], []
            for block in _blocks(stage):
                inputs.append(x)
                attended.append(block.cpe.added_to(x, neighbors, in_place.rows(x)))
                x = attended[-1].clone()
                block.add_rest(x, patches, in_place)
            levels.append(_level(encoder, x, geometry, pooling))
            known.append(Known(cell_keys(geometry.grid_coord), inputs, attended, x))
    return levels, known


def encode_changed(
    encoder: PointTransformer,
    known: Sequence[Known],
    feat: Tensor,
    grid_coord: Tensor,
    changed: Tensor,
) -> Encoded:
    """The same, worked out anew around the voxels that changed.

    known: of the cloud as it was before, on the same grid. changed: (n,) bool.
    """
    cells = grid_coord[changed] >> REGION
    levels: list[EncodedLevel] = []
    kept: list[Known] = []
    on_cpu = infers_on_cpu(feat)
    with products_for(feat):
        for number, stage, geometry, pooling, below in _stages(encoder, grid_coord):
            keys = cell_keys(geometry.grid_coord)
            before, is_known = known[number].find(keys)
            now = known[number].at(before, keys)
            anew = _within(geometry.grid_coord, number, cells) | ~is_known
            rows = anew.nonzero().flatten()
            if len(rows):
                if below is None:
                    x = at_full_speed(encoder.embedding)(feat[rows], None)
                else:
                    fine, narrowed = below.narrowed(rows)
                    x = _pooled(stage, kept[-1].feat[fine], narrowed)
                patches, _ = cut(geometry, encoder.config, number, None)
                _run(stage, x, now, _Part(rows, patches, list(_neighbors(keys, rows)), on_cpu))
            levels.append(_level(encoder, now.feat, geometry, pooling))
            kept.append(now)
    return levels, kept


def _blocks(stage: Stage) -> Iterator[Block]:
    return map(at_full_speed, cast("list[Block]", list(stage.blocks)))


def _level(
    encoder: PointTransformer, feat: Tensor, geometry: Geometry, pooling: Pooling | None
) -> EncodedLevel:
    feat = feat.to(encoder.embedding.norm.weight.dtype)
    return EncodedLevel(feat, geometry.grid_coord, geometry.offsets, pooling)


def _pooled(stage: Stage, x: Tensor, pooling: Pooling) -> Tensor:
    assert stage.down is not None
    out: Tensor = at_full_speed(stage.down)(x, pooling)
    return out


def _stages(
    encoder: PointTransformer, grid_coord: Tensor
) -> Iterator[tuple[int, Stage, Geometry, Pooling | None, Pooling | None]]:
    """Each stage with its voxels, how they fall into the next's, and those before into them."""
    below: Pooling | None = None
    for number, stage in enumerate(encoder.stages):
        count = len(grid_coord)
        batch = torch.zeros(count, dtype=torch.int64, device=grid_coord.device)
        offsets = torch.tensor([count], device=grid_coord.device)
        last = number + 1 == len(encoder.stages)
        pooling = None if last else pool_grid(grid_coord, batch)
        assert isinstance(stage, Stage)
        yield number, stage, Geometry(grid_coord, batch, offsets), pooling, below
        if pooling is not None:
            grid_coord, below = pooling.grid_coord, pooling


@dataclass(frozen=True)
class _Part:
    """Some rows (m,) of a level, its patches, and for each of 27 offsets (which of the rows have a
    neighbour there, that neighbour's row), both (j,). on_cpu: as in `InPlace`."""

    rows: Tensor
    patches: Patches
    neighbors: list[tuple[Tensor, Tensor]]
    on_cpu: bool


def _run(stage: Stage, x: Tensor, now: Known, part: _Part) -> None:
    """Work out rows of a stage from their input (m, C), and put them into what is known."""
    for block, inputs, attended in zip(_blocks(stage), now.inputs, now.attended, strict=True):
        inputs[part.rows] = x
        cpe = block.cpe
        z = x + cpe.norm(cpe.linear(_convolved(cpe.conv, inputs, part)))
        attended[part.rows] = z
        y = z + _attended(block, attended, part)
        x = y + block.mlp(block.norm2(y))
    now.feat[part.rows] = x


def _convolved(conv: SubmanifoldConv, x: Tensor, part: _Part) -> Tensor:
    """The convolution (m, C) of x (n, C) at the part's rows."""
    kernel = conv.weight.flatten(1, 3).transpose(0, 1)
    out = F.linear(x.index_select(0, part.rows), kernel[CENTER], conv.bias)
    total = out.float() if out.dtype.itemsize == 2 else out
    for weight, (at, neighbor) in zip(kernel, part.neighbors, strict=True):
        if len(at):
            total.index_add_(0, at, F.linear(x.index_select(0, neighbor), weight).to(total.dtype))
    return total.to(out.dtype)


def _attended(block: Block, x: Tensor, part: _Part) -> Tensor:
    """What the part's rows get from their patches of x (n, C), before its norm: (m, C)."""
    attention = block.attention
    ask, look = _split(attention.qkv, x.shape[1])
    out = torch.empty_like(x[: len(part.rows)])
    for keys, queries, real in _grouped(part, block.order):
        seen = block.norm1(x.index_select(0, keys.flatten())).view(*keys.shape, -1)
        asked = block.norm1(x.index_select(0, part.rows[queries.flatten()]))
        query = F.linear(asked.view(*queries.shape, -1), *ask)
        key, value = F.linear(seen, *look).chunk(2, dim=2)
        found = attention.proj(attention.attend(query, key, value, part.on_cpu))
        out[queries[real]] = found[real]
    return out


def _split(qkv: nn.Linear, channels: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Weight and bias of the queries, and those of keys and values."""
    for rows in (slice(channels), slice(channels, None)):
        yield qkv.weight[rows], None if qkv.bias is None else qkv.bias[rows]


def _grouped(part: _Part, order: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The patches that hold rows of the part, those with about as many of them together.

    Yields (P, K) rows of the level, (P, m) rows of the part, and (P, m) which of these are real.
    """
    ((_, length),) = part.patches.shapes
    place = part.patches.target[order][part.rows]
    place, rows = place.sort()
    patch, sizes = torch.unique_consecutive(place // length, return_counts=True)
    first = sizes.cumsum(0) - sizes
    source = part.patches.source[order].view(-1, length)
    for group in sizes.argsort().split(TOGETHER):
        step = torch.arange(int(sizes[group[-1]]), device=rows.device)
        real = step < sizes[group, None]
        queries = rows[first[group, None] + torch.where(real, step, 0)]
        yield source[patch[group]], queries, real


def _neighbors(keys: Tensor, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For each offset of the kernel, in its order: as `_Part.neighbors`."""
    own = keys[rows]
    for x, y, z in product((-1, 0, 1), repeat=3):
        if x == y == z == 0:
            # The centre is a product of its own.
            yield own.new_empty(0), own.new_empty(0)
            continue
        wanted = own + ((x << 2 * BITS) + (y << BITS) + z)
        found = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        at = (keys[found] == wanted).nonzero().flatten()
        yield at, found[at]


def _within(grid_coord: Tensor, stage: int, cells: Tensor) -> Tensor:
    """Which voxels (n, 3) of a stage are to be worked out anew for a region (m, 3): (n,) bool."""
    level = max(REGION, stage)
    region = cell_keys(cells >> level - REGION).unique()
    reach = AROUND[min(stage, len(AROUND) - 1)]
    if reach:
        step = torch.arange(-reach, reach + 1, device=region.device)
        around = torch.cartesian_prod(step << 2 * BITS, step << BITS, step).sum(1)
        region = (region[:, None] + around).flatten().unique()
    return torch.isin(cell_keys(grid_coord >> level - stage), region)
