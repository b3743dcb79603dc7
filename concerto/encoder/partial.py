"""Encoding anew only where a cloud changed, with the rest as it was found before.

Each stage's output is kept. A change dirties a region; a stage then runs on the region with a halo
around, and of its results only those within replace what was kept. The next stage pools over all
that is kept, so it sees the whole cloud, however little of it was encoded anew. Fine stages are
nine tenths of the work and look no further than a patch of theirs, half a metre: there the halo is
thin. Coarse ones look across a room and cost little: there it is wide.

Voxels are held by their place on a pinned grid. The curves are those of the whole cloud, for a
part of a curve is a curve; what differs from encoding everything are the ends of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto.encoder.cpu import fast_products, infers_on_cpu
from concerto.encoder.layout import Geometry, InPlace, Layout, cut
from concerto.encoder.point_transformer import EncodedLevel, PointTransformer
from concerto.encoder.pooling import Pooling, pool_grid
from concerto.encoder.sparse_conv import find_neighbors

# Bits of an axis in a key: the grid's 16 and one to spare for cells beside it.
BITS = 17


@dataclass(frozen=True)
class Reach:
    """Cells of 2**level voxels, `cells` of them in every direction."""

    level: int
    cells: int


# A region is told in cells of 8 voxels, 16 cm. Around it, by stage, from the finest: what is
# encoded, and what of that replaces what was kept. Measured by `python -m benchmarks.streaming`.
REGION = 3
HALO = (Reach(2, 1), Reach(2, 1), Reach(3, 1), Reach(3, 2), Reach(4, 2))
KEPT = (Reach(3, 0), Reach(3, 0), Reach(3, 0), Reach(3, 1), Reach(4, 1))


@dataclass(frozen=True)
class Known:
    """What a stage gave: keys (n,) int64, sorted, and features (n, C)."""

    keys: Tensor
    feat: Tensor

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (m,) of keys (m,), and (m,) whether they are known."""
        at = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return at, self.keys[at] == keys


def known_of(levels: Sequence[EncodedLevel]) -> list[Known]:
    """What an encoding of one cloud gave, whose voxels are sorted by x, y, z."""
    return [Known(cell_keys(level.grid_coord), level.feat) for level in levels]


def cell_keys(grid_coord: Tensor) -> Tensor:
    """(n,) int64 that sort as the cells (n, 3) do; a neighbour's is a constant away."""
    x, y, z = grid_coord.unbind(1)
    return (x + 1) << 2 * BITS | (y + 1) << BITS | (z + 1)


def encode_changed(
    encoder: PointTransformer,
    known: Sequence[Known],
    feat: Tensor,
    grid_coord: Tensor,
    changed: Tensor,
) -> list[EncodedLevel]:
    """The levels of one cloud, encoded anew around the voxels that changed.

    known: of the cloud as it was before. feat: (n, 9), grid_coord: (n, 3), sorted by x, y, z, on
    the grid that it had before. changed: (n,) bool.
    """
    cells = grid_coord[changed] >> REGION
    batch = torch.zeros(len(feat), dtype=torch.int64, device=feat.device)
    levels: list[EncodedLevel] = []
    pooling: Pooling | None = None
    x, in_place = feat, InPlace.if_possible(feat, seeds=None, slice_rows=None)
    with fast_products() if infers_on_cpu(feat) else nullcontext():
        for number, stage in enumerate(encoder.stages):
            if pooling is not None:
                grid_coord, batch = pooling.grid_coord, pooling.batch
            before, is_known = known[number].find(cell_keys(grid_coord))
            rows = (_within(grid_coord, number, cells, HALO) | ~is_known).nonzero().flatten()
            out = known[number].feat.index_select(0, before)
            if len(rows):
                part = _geometry(grid_coord[rows])
                patches, _ = cut(part, encoder.config, number, None)
                neighbors = find_neighbors(part.grid_coord, part.batch)
                layout = Layout(patches, neighbors, in_place, row_seeds=None, recompute=False)
                if pooling is None:
                    done = stage(encoder.embedding(x[rows], None), None, layout)
                else:
                    fine, narrowed = pooling.narrowed(rows)
                    done = stage(x[fine], narrowed, layout)
                kept = _within(part.grid_coord, number, cells, KEPT) | ~is_known[rows]
                out[rows[kept]] = done[kept]
            last = number + 1 == len(encoder.stages)
            pooling = None if last else pool_grid(grid_coord, batch)
            offsets = torch.tensor([len(out)], device=out.device)
            levels.append(EncodedLevel(out, grid_coord, offsets, pooling))
            x = out
    return levels


def _geometry(grid_coord: Tensor) -> Geometry:
    count = len(grid_coord)
    batch = torch.zeros(count, dtype=torch.int64, device=grid_coord.device)
    return Geometry(grid_coord, batch, torch.tensor([count], device=grid_coord.device))


def _within(grid_coord: Tensor, stage: int, cells: Tensor, reaches: Sequence[Reach]) -> Tensor:
    """Which voxels (n, 3) of a stage lie in the region (m, 3), or within reach of it: (n,) bool."""
    reach = reaches[min(stage, len(reaches) - 1)]
    level = max(reach.level, stage)
    place = cell_keys(grid_coord >> level - stage)
    if level < REGION:
        # Cells finer than the region's: those of its voxels.
        inside = torch.isin(cell_keys(grid_coord >> REGION - stage), cell_keys(cells).unique())
        region = place[inside].unique()
    else:
        region = cell_keys(cells >> level - REGION).unique()
    if reach.cells:
        step = torch.arange(-reach.cells, reach.cells + 1, device=region.device)
        around = torch.cartesian_prod(step << 2 * BITS, step << BITS, step).sum(1)
        region = (region[:, None] + around).flatten().unique()
    return torch.isin(place, region)
