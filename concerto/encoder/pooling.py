"""Grid pooling: voxels of twice the edge, each the maximum over the (up to eight) it covers.

A fine voxel's octant within its coarse one is a free, fixed slot, so pooling is eight gathers into
a running maximum or sum: no scatter, hence the same bits in every run, on a GPU too. An empty slot
repeats a filled one, which changes no maximum, and counts for nothing in a mean.
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

    parent: (n,) int64 coarse row of each fine one. children: (8, m) int64 fine rows by octant.
    filled: (8, m) bool, whether there is one in that octant; where not, `children` names another.
    grid_coord: (m, 3) int64. batch: (m,) int64.
    order, starts: fine rows sorted by parent (n,), and where each parent's begin (m,).
    torch_scatter: let that library take maxima.
    """

    parent: Tensor
    children: Tensor
    filled: Tensor
    grid_coord: Tensor
    batch: Tensor
    order: Tensor
    starts: Tensor
    torch_scatter: bool = False

    def max(self, x: Tensor) -> Tensor:
        """Largest value of each channel over a coarse voxel's members: (n, C) → (m, C)."""
        if self.torch_scatter:
            return _segment_max(x, self)
        return _largest(x, self.children)

    def mean(self, x: Tensor) -> Tensor:
        """Mean over a coarse voxel's members: (n, C) → (m, C)."""
        out = torch.zeros_like(x[:1]).expand(len(self.batch), -1)
        for rows, filled in zip(self.children, self.filled, strict=True):
            out = out + x.index_select(0, rows) * filled[:, None]
        return out / self.filled.sum(0)[:, None]

    def narrowed(self, rows: Tensor) -> tuple[Tensor, Pooling]:
        """What concerns some coarse rows (k,): the fine rows they cover, and how these fall."""
        is_fine = torch.zeros(len(self.parent), dtype=torch.bool, device=rows.device)
        children = self.children[:, rows]
        is_fine[children.flatten()] = True
        fine = is_fine.nonzero().flatten()
        place = is_fine.cumsum(0) - 1
        coarse = torch.full_like(self.batch, -1)
        coarse[rows] = torch.arange(len(rows), device=rows.device)
        parent = coarse[self.parent[fine]]
        order = parent.argsort(stable=True)
        starts = torch.searchsorted(parent[order], torch.arange(len(rows), device=rows.device))
        narrowed = Pooling(
            parent=parent,
            children=place[children],
            filled=self.filled[:, rows],
            grid_coord=self.grid_coord[rows],
            batch=self.batch[rows],
            order=order,
            starts=starts,
            torch_scatter=self.torch_scatter,
        )
        return fine, narrowed


def pool_grid(grid_coord: Tensor, batch: Tensor, torch_scatter: bool = False) -> Pooling:
    """Halve the grid. grid_coord: (n, 3) int64 >= 0, one row a voxel. batch: (n,) int64."""
    coarse = grid_coord >> 1
    groups = group_rows(pack(coarse, batch, spans(coarse)))
    first = groups.order[groups.starts]
    x, y, z = (grid_coord & 1).unbind(1)
    octant = x << 2 | y << 1 | z
    children = first.repeat(OCTANTS, 1)
    children[octant, groups.group] = torch.arange(len(batch), device=batch.device)
    filled = torch.zeros_like(children, dtype=torch.bool)
    filled[octant, groups.group] = True
    return Pooling(
        parent=groups.group,
        children=children,
        filled=filled,
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

    def forward(self, x: Tensor, pooling: Pooling, slice_rows: int | None = None) -> Tensor:
        """slice_rows: for inference, about so many fine rows at a time."""
        if slice_rows is None or slice_rows >= len(x):
            return F.gelu(self.norm(pooling.max(self.linear(x))))
        fine, coarse = len(x), len(pooling.starts)
        position = torch.empty_like(pooling.order)
        position[pooling.order] = torch.arange(fine, device=x.device)
        step = max(1, slice_rows * coarse // fine)
        bounds = [*pooling.starts[::step].tolist(), fine]
        parts = []
        for children, start, end in zip(
            pooling.children.split(step, dim=1), bounds[:-1], bounds[1:], strict=True
        ):
            y = self.linear(x.index_select(0, pooling.order[start:end]))
            parts.append(F.gelu(self.norm(_largest(y, position[children] - start))))
        return torch.cat(parts)


def _largest(x: Tensor, children: Tensor) -> Tensor:
    """The maximum over the rows (8, m) of x."""
    out = x.index_select(0, children[0])
    for rows in children[1:]:
        out = torch.maximum(out, x.index_select(0, rows))
    return out


def _segment_max(x: Tensor, pooling: Pooling) -> Tensor:
    from torch_scatter import segment_csr

    ends = pooling.starts.new_full((1,), len(x))
    out: Tensor = segment_csr(
        x.index_select(0, pooling.order), torch.cat([pooling.starts, ends]), reduce="max"
    )
    return out
