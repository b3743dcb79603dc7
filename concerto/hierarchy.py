"""The levels of an encoding, and the features that can be read off them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from concerto.encoder.point_transformer import EncodedLevel
from concerto.errors import InputError
from concerto.grids import sizes_of

Stages = Sequence[int] | Literal["all"]
Place = Literal["points", "voxels"] | int

# Rows that `features` writes at a time: all their channels, while the memory is near.
COPY_ROWS = 2**10


@dataclass(frozen=True)
class Level:
    """One stage's voxels, n over all B scenes, scene after scene.

    feat: (n, C). coord: (n, 3) float32, mean of the members' centred coordinates.
    grid_coord: (n, 3) int64. offsets: (B,) int64 ends of the scenes' rows; packed scenes without
    rows have none. parent: (n,) int64, row in the next coarser level; None at the coarsest.
    """

    feat: Tensor
    coord: Tensor
    grid_coord: Tensor
    offsets: Tensor
    parent: Tensor | None


class Hierarchy:
    """What the encoder saw at every scale, from which features at any place are put together.

    levels: fine to coarse. voxel_of_point: (N,) int64, the finest level's row of every input
    point of all scenes, -1 where the point was left out.
    """

    def __init__(
        self,
        levels: list[Level],
        voxel_of_point: Tensor,
        points_per_scene: list[int],
        default_stages: tuple[int, ...],
        single: bool,
    ) -> None:
        self.levels = levels
        self.voxel_of_point = voxel_of_point
        self._points_per_scene = points_per_scene
        self._default_stages = default_stages
        self._single = single

    @staticmethod
    def build(
        encoded: list[EncodedLevel],
        coord: Tensor,
        voxel_of_point: Tensor,
        points_per_scene: list[int],
        default_stages: tuple[int, ...],
        single: bool,
    ) -> Hierarchy:
        """Complete the encoder's levels with coordinates, `coord` (n, 3) being the finest's."""
        levels = []
        for level in encoded:
            parent = None if level.pooling is None else level.pooling.parent
            levels.append(Level(level.feat, coord, level.grid_coord, level.offsets, parent))
            if level.pooling is not None:
                coord = level.pooling.mean(coord)
        return Hierarchy(levels, voxel_of_point, points_per_scene, default_stages, single)

    def features(self, stages: Stages | None = None, at: Place = "points") -> Tensor | list[Tensor]:
        """Concatenate stages, fine to coarse, at one place: (n, ΣC), or a list of them for a list.

        stages: such as (2, 3, 4), or "all"; by default the model's `default_stages`.
        at: "points" for a row an input point (zero where it was left out), "voxels" for the
        finest level, or the number of a stage; coarser features are copied down to it.

        Raises InputError for a stage that does not exist, or one finer than `at`.
        """
        chosen = resolve_stages(
            self._default_stages if stages is None else stages, len(self.levels)
        )
        target = self._target(at, chosen)
        rows, dropped = None, None
        sizes = sizes_of(self.levels[target].offsets)
        if at == "points":
            sizes = self._points_per_scene
            dropped = self.voxel_of_point < 0
            rows = self.voxel_of_point.clamp(min=0)
        out = self._gather(chosen, target, rows)
        if dropped is not None and dropped.any():
            out.masked_fill_(dropped[:, None], 0)
        return out if self._single else list(out.split(sizes))

    def at_points(self, values: Tensor, stage: int, absent: int = 0) -> Tensor | list[Tensor]:
        """Values (n, …) of a stage's voxels, copied to the points in them: (N, …), or a list.

        absent: what points get that were left out.

        Raises InputError for a stage that does not exist, or values that are not one a voxel of it.
        """
        if type(stage) is not int or not 0 <= stage < len(self.levels):
            raise InputError(f"stage is {stage!r}; it must be from 0 to {len(self.levels) - 1}.")
        voxels = len(self.levels[stage].feat)
        if values.shape[:1] != (voxels,):
            raise InputError(
                f"values has shape {tuple(values.shape)}; it must be ({voxels}, …), a row for each "
                f"voxel of stage {stage}."
            )
        rows = self.voxel_of_point.clamp(min=0)
        for level in self.levels[:stage]:
            assert level.parent is not None  # only the coarsest has none
            rows = level.parent.index_select(0, rows)
        out = values.index_select(0, rows)
        dropped = self.voxel_of_point < 0
        if dropped.any():
            out[dropped] = absent
        return out if self._single else list(out.split(self._points_per_scene))

    def _target(self, at: Place, chosen: tuple[int, ...]) -> int:
        target = 0 if at in ("points", "voxels") else at
        if type(target) is not int or not 0 <= target < len(self.levels):
            raise InputError(
                f'at is {at!r}; it must be "points", "voxels" or a stage from 0 to '
                f"{len(self.levels) - 1}."
            )
        if chosen[0] < target:
            raise InputError(
                f"Stage {chosen[0]} is finer than stage {target}, where the features are wanted. "
                f"Ask at stage {chosen[0]} or finer, or leave that stage out."
            )
        return target

    def _gather(self, chosen: tuple[int, ...], target: int, rows: Tensor | None) -> Tensor:
        """Features of the chosen stages at `rows` of the target level (all of them if None)."""
        parts = []
        for number, level in enumerate(self.levels[target:], start=target):
            if number in chosen:
                parts.append((level.feat, rows))
            if level.parent is not None and number < chosen[-1]:
                rows = level.parent if rows is None else level.parent.index_select(0, rows)
        if torch.is_grad_enabled() and any(feat.requires_grad for feat, _ in parts):
            return torch.cat([_take(feat, rows) for feat, rows in parts], dim=1)
        first, first_rows = parts[0]
        count = len(first) if first_rows is None else len(first_rows)
        out = first.new_empty(count, sum(feat.shape[1] for feat, _ in parts))
        columns = [feat.shape[1] for feat, _ in parts]
        for start in range(0, count, COPY_ROWS):
            piece = slice(start, start + COPY_ROWS)
            for (feat, rows), place in zip(parts, out[piece].split(columns, dim=1), strict=True):
                place.copy_(feat[piece] if rows is None else _take(feat, rows[piece]))
        return out


def resolve_stages(stages: Stages, count: int) -> tuple[int, ...]:
    """The stages meant, fine to coarse. Raises InputError for one that does not exist."""
    if isinstance(stages, str) and stages == "all":
        return tuple(range(count))
    given = stages.tolist() if hasattr(stages, "tolist") else stages
    if not isinstance(given, (list, tuple, range)) or not all(
        type(s) is int and 0 <= s < count for s in given
    ):
        raise InputError(
            f'stages is {stages!r}; it must be "all" or some of {tuple(range(count))}, '
            "0 being the finest."
        )
    if not given or len(set(given)) != len(given):
        raise InputError(f"stages is {stages!r}; name each wanted stage once, at least one.")
    return tuple(sorted(given))


def _take(feat: Tensor, rows: Tensor | None) -> Tensor:
    return feat if rows is None else feat.index_select(0, rows)
