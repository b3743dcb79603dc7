"""Features that keep up with a camera: what a frame changed is encoded anew, the rest is kept.

Frames are fused to a map whose voxels are those of the model, on a grid and around an origin that
are pinned by the first. At an update, voxels are compared with what was last encoded; regions where
enough of them are new or have moved are encoded again, each in its surroundings (see
`encoder.partial`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto.encoder.partial import (
    REGION,
    Known,
    cell_keys,
    encode_changed,
    encode_whole,
)
from concerto.encoder.point_transformer import EncodedLevel
from concerto.errors import InputError
from concerto.hierarchy import Hierarchy, Stages
from concerto.lifting.alignment import Alignment
from concerto.lifting.footage import moved
from concerto.lifting.frame import Frame
from concerto.lifting.fusion import MAX_DEPTH, Lifter
from concerto.lifting.lifted import LiftedCloud
from concerto.model import Concerto

# The grid begins so many voxels before the first frame's lowest: 82 m at 2 cm. So the depth of the
# curves, which decides their course, stays the same till the map is as large.
MARGIN = 2**12
# A voxel has changed where its point moved by this (m), its colour (0-1), or its normal, per axis.
MOVED, RECOLOURED, TURNED = 0.005, 0.05, 0.3
# A region is encoded again where this share of its voxels changed since it last was.
SHARE = 0.2
# Where more than this share of all voxels changed, all are encoded.
MOST = 0.5


@dataclass(frozen=True)
class Update:
    """What an update did: the map's points, those new or changed, and those encoded anew."""

    points: int
    changed: int
    encoded: int


class Stream:
    """Fuses frames, and keeps the features of their map up to date.

    model: in evaluation mode. alignment: brings the frames' world to z up, as `lift(..., align=
    "up").alignment` of the first frames gives it; models expect rooms upright. origin: (3,) metres
    in that world, what coordinates are told from; by default by the model's rule from the first
    frames. max_depth: metres beyond which depth is not used.

    Raises InputError where origin is not three numbers.
    """

    def __init__(
        self,
        model: Concerto,
        *,
        alignment: Alignment | None = None,
        origin: Sequence[float] | None = None,
        max_depth: float = MAX_DEPTH,
    ) -> None:
        self.model, self.alignment = model, alignment
        scale = model.config.coord_scale
        self._lifter = Lifter(model.config.grid_size / scale, max_depth)
        self._origin = None if origin is None else _given_origin(origin) * scale
        self._base: Tensor | None = None
        self._state: _State | None = None

    def add(self, frame: Frame) -> None:
        """Fuse a frame. Raises InputError as `Lifter.add` does; the map is then as before."""
        self._lifter.add(moved(frame, self.alignment))

    def update(self) -> Update:
        """Encode what the frames since the last update changed.

        Raises InputError where there is no frame yet, or the map has outgrown its grid.
        """
        voxels = self._voxels()
        state = self._state
        if state is None:
            return self._encode_all(voxels)
        changed, region = _changes(voxels, state)
        if region.float().mean() > MOST:
            return self._encode_all(voxels, int(changed.sum()))
        at, found = state.known[0].find(cell_keys(voxels.grid_coord))
        # What is not encoded now is compared with what it was encoded from the next time.
        renewed = region | ~found
        feat = torch.where(renewed[:, None], voxels.feat, state.feat[at])
        with self._inference():
            levels, known = encode_changed(
                self.model.encoder, state.known, feat, voxels.grid_coord, region
            )
        self._state = _State(voxels.cloud, feat, levels, known)
        return Update(len(feat), int(changed.sum()), int(renewed.sum()))

    def encode_all(self) -> Update:
        """Encode everything, as the first update does, with the origin that is pinned."""
        return self._encode_all(self._voxels())

    def cloud(self) -> LiftedCloud:
        """The map as of the last update. Raises InputError where there was none."""
        return self._encoded().cloud

    def features(self, stages: Stages | None = None) -> Tensor:
        """(N, C), a row a point of `cloud()`. Raises InputError where there was no update."""
        features = self.hierarchy().features(stages)
        assert isinstance(features, Tensor)
        return features

    def hierarchy(self) -> Hierarchy:
        """The levels as of the last update. Raises InputError where there was none."""
        state = self._encoded()
        count = len(state.feat)
        return Hierarchy.build(
            state.levels,
            coord=state.feat[:, :3],
            voxel_of_point=torch.arange(count, device=state.feat.device),
            points_per_scene=[count],
            default_stages=self.model.config.default_stages,
            single=True,
        )

    def _encode_all(self, voxels: _Voxels, changed: int | None = None) -> Update:
        count = len(voxels.feat)
        with self._inference():
            levels, known = encode_whole(self.model.encoder, voxels.feat, voxels.grid_coord)
        self._state = _State(voxels.cloud, voxels.feat, levels, known)
        return Update(count, count if changed is None else changed, count)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Without gradients, and in the weights' dtype: what is kept is added to in place."""
        with torch.no_grad(), torch.autocast(self.model.device.type, enabled=False):
            yield

    def _encoded(self) -> _State:
        if self._state is None:
            raise InputError("Nothing was encoded yet: add frames, then update().")
        return self._state

    def _voxels(self) -> _Voxels:
        """The map as the encoder takes it."""
        if self.model.training:
            raise InputError("The model is in training mode; call model.eval() first.")
        cloud = self._lifter.cloud()
        cell = torch.from_numpy(self._lifter.cells())
        coord = cloud.coord.double() * self.model.config.coord_scale
        if self._base is None:
            self._base = (cell.amin(0) >> REGION + 2 << REGION + 2) - MARGIN
        if self._origin is None:
            self._origin = _origin(coord, self.model.config.center)
        grid = cell - self._base
        if int(grid.min()) < 0 or int(grid.max()) + 1 >= 2 * MARGIN:
            reach = MARGIN * self._lifter.voxel_size
            raise InputError(
                f"The map reaches more than {reach:.0f} m from where it began; start a new Stream."
            )
        assert cloud.color is not None
        assert cloud.normal is not None
        feat = torch.cat([(coord - self._origin).float(), cloud.color, cloud.normal], 1)
        device = self.model.device
        return _Voxels(cloud, feat.to(device), grid.to(device))


@dataclass(frozen=True)
class _Voxels:
    """The map now: feat (n, 9), grid_coord (n, 3), a row a point of the cloud."""

    cloud: LiftedCloud
    feat: Tensor
    grid_coord: Tensor


@dataclass(frozen=True)
class _State:
    """The map as last encoded; feat (n, 9) is what each voxel was last encoded from."""

    cloud: LiftedCloud
    feat: Tensor
    levels: list[EncodedLevel]
    known: list[Known]


def _changes(voxels: _Voxels, state: _State) -> tuple[Tensor, Tensor]:
    """Which voxels changed since they were encoded, and which lie where enough did: (n,) bool."""
    at, found = state.known[0].find(cell_keys(voxels.grid_coord))
    limits = voxels.feat.new_tensor([MOVED] * 3 + [RECOLOURED] * 3 + [TURNED] * 3)
    changed = ((voxels.feat - state.feat[at]).abs() > limits).any(1) | ~found
    _, cell, size = torch.unique(
        cell_keys(voxels.grid_coord >> REGION), return_inverse=True, return_counts=True
    )
    share = torch.bincount(cell, weights=changed.float(), minlength=len(size)) / size
    return changed, (share >= SHARE)[cell]


def _given_origin(origin: Sequence[float]) -> Tensor:
    """(3,) float64. Raises InputError for anything else."""
    wanted = InputError(f"origin is {origin!r}; it must be three numbers: x, y, z in metres.")
    try:
        given = torch.as_tensor(origin, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise wanted from error
    if given.shape != (3,) or not given.isfinite().all():
        raise wanted
    return given


def _origin(coord: Tensor, center: str) -> Tensor:
    """As the model's preprocessing centres a cloud."""
    low, high = coord.amin(0), coord.amax(0)
    middle = (low + high) / 2
    if center == "none":
        return torch.zeros_like(low)
    return torch.stack([middle[0], middle[1], low[2] if center == "xyz" else 0 * low[2]])
