"""What the blocks of a level share: its geometry, worked out once, and how they are to run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from concerto.config import ConcertoConfig
from concerto.encoder.attention import Patches, cut_patches
from concerto.encoder.cpu import infers, infers_on_cpu, rows_at_a_time
from concerto.encoder.random import hash_seeds, hash_uniform
from concerto.encoder.serialization import ORDERS, serialize
from concerto.encoder.sparse_conv import Neighbors, SpconvNeighbors
from concerto.grids import sizes_of


@dataclass(frozen=True)
class InPlace:
    """How inference goes: layers add in place, in slices of rows.

    on_cpu: whether the ways for a CPU are gone, that of `kernels` among them.
    slice_rows: the most rows at a time; None for as many as go well.
    """

    on_cpu: bool
    slice_rows: int | None

    @staticmethod
    def if_possible(x: Tensor, seeds: Tensor | None, slice_rows: int | None) -> InPlace | None:
        """None where gradients pass, or something is dropped."""
        if seeds is not None or not infers(x):
            return None
        return InPlace(infers_on_cpu(x), slice_rows)

    def rows(self, x: Tensor) -> int:
        """How many rows of x (n, C) at a time."""
        return rows_at_a_time(x, self.slice_rows)


@dataclass(frozen=True)
class Layout:
    """Patches and neighbours of a level.

    in_place: None for the plain way, which gradients can pass. row_seeds: (n,) int64, what each
    row's drop path is drawn from; None where nothing is dropped. recompute: keep no activations
    for the backward pass.
    """

    patches: Patches
    neighbors: Neighbors | SpconvNeighbors
    in_place: InPlace | None
    row_seeds: Tensor | None
    recompute: bool


@dataclass(frozen=True)
class Geometry:
    """The voxels of a level. grid_coord: (n, 3), batch: (n,), offsets: (B,), all int64."""

    grid_coord: Tensor
    batch: Tensor
    offsets: Tensor


def cut(
    level: Geometry, config: ConcertoConfig, stage: int, seeds: Tensor | None
) -> tuple[Patches, Tensor | None]:
    """The patches of a stage, and its rows' seeds. seeds: (B,) int64 in training, else None."""
    batch, offsets = level.batch, level.offsets
    orders = serialize(level.grid_coord, batch, len(offsets))
    row_seeds = None
    if seeds is not None:
        seeds = hash_seeds(seeds, stage)
        if config.shuffle_orders:
            orders = _shuffle(orders, batch, seeds)
        if config.drop_path:
            starts = offsets - torch.bincount(batch, minlength=len(offsets))
            row = torch.arange(len(batch), device=batch.device) - starts[batch]
            row_seeds = hash_seeds(seeds[batch], row)
    return cut_patches(orders, sizes_of(offsets), config.patch_size[stage]), row_seeds


def _shuffle(orders: Tensor, batch: Tensor, seeds: Tensor) -> Tensor:
    """Exchange the curves (4, n) at random, for each cloud on its own."""
    curves = torch.arange(len(ORDERS), device=orders.device)
    drawn = hash_uniform(seeds[:, None], curves).argsort(dim=1)
    return orders.gather(0, drawn[batch].T)
