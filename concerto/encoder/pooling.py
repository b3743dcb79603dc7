"""Grid pooling: voxels of twice the edge, each the maximum over the (up to eight) it covers.

A fine voxel's octant within its coarse one is a free, fixed slot, so pooling is eight gathers into
a running maximum or sum: no scatter, hence the same bits in every run, on a GPU too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.grids import group_rows, pack, spans

OCTANTS = 8


@dataclass(frozen=True)
class Pooling:
    """How n fine voxels fall into m coarse ones, sorted by (cloud, x, y, z).

    parent: (n,) int64 coarse row of each fine one. children: (8, m) int64 fine rows by octant, n
    where there is none. grid_coord: (m, 3) int64. batch: (m,) int64.
    order, starts: fine rows sorted by parent (n,), and where each parent's begin (m,).
    torch_scatter: let that library take maxima.
    """

    parent: Tensor
    children: Tensor
    grid_coord: Tensor
    batch: Tensor
    order: Tensor
    starts: Tensor
    torch_scatter: bool = False

    def max(self, x: Tensor) -> Tensor:
        """Largest value of each channel over a coarse voxel's members: (n, C) → (m, C)."""
        if self.torch_scatter:
            return _segment_max(x, self)
        padded = F.pad(x, (0, 0, 0, 1), value=-torch.inf)
        out = padded.index_select(0, self.children[0])
        for rows in self.children[1:]:
            out = torch.maximum(out, padded.index_select(0, rows))
        return out

    def mean(self, x: Tensor) -> Tensor:
        """Mean over a coarse voxel's members: (n, C) → (m, C)."""
        padded = F.pad(x, (0, 0, 0, 1))
        out = padded.index_select(0, self.children[0])
        for rows in self.children[1:]:
            out = out + padded.index_select(0, rows)
        members = (self.children < len(x)).sum(0)
        return out / members[:, None]


def pool_grid(grid_coord: Tensor, batch: Tensor, torch_scatter: bool = False) -> Pooling:
    """Halve the grid. grid_coord: (n, 3) int64 >= 0, one row a voxel. batch: (n,) int64."""
    coarse = grid_coord >> 1
    groups = group_rows(pack(coarse, batch, spans(coarse)))
    first = groups.order[groups.starts]
    x, y, z = (grid_coord & 1).unbind(1)
    octant = x << 2 | y << 1 | z
    children = torch.full((OCTANTS, len(first)), len(batch), device=batch.device)
    children[octant, groups.group] = torch.arange(len(batch), device=batch.device)
    return Pooling(
        parent=groups.group,
        children=children,
        grid_coord=coarse[first],
        batch=batch[first],
        order=groups.order,
        starts=groups.starts,
        torch_scatter=torch_scatter,
    )


class GridPooling(nn.Module):
    """Linear, maximum over each coarse voxel, layer norm, GELU: (n, C_in) → (m, C_out)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor, pooling: Pooling) -> Tensor:
        return F.gelu(self.norm(pooling.max(self.linear(x))))


def _segment_max(x: Tensor, pooling: Pooling) -> Tensor:
    from torch_scatter import segment_csr

    ends = pooling.starts.new_full((1,), len(x))
    out: Tensor = segment_csr(
        x.index_select(0, pooling.order), torch.cat([pooling.starts, ends]), reduce="max"
    )
    return out
