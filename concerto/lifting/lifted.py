"""What lifting gives: a point cloud that knows how sure its points are and who saw them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto.lifting.alignment import Alignment
from concerto.lifting.camera import Camera
from concerto.points.point_cloud import PointCloud


@dataclass(frozen=True)
class LiftedCloud(PointCloud):
    """N points fused from frames; a plain `PointCloud` wherever one is wanted.

    confidence: (N,) float32 > 0, the summed weight of what was measured there.
    cameras: of the frames that were fused, in the cloud's world. names: of these frames.
    visible: for each of them (m, 3) int64 rows of x pixel, y pixel and point, or None where that
    was not asked for. alignment: how the cloud was turned and scaled, None where it was not.
    left_out: of each frame that was left out, why.
    """

    confidence: Tensor | None = None
    cameras: tuple[Camera, ...] = ()
    names: tuple[str, ...] = ()
    visible: tuple[NDArray[np.int64], ...] | None = None
    alignment: Alignment | None = None
    left_out: tuple[str, ...] = ()

    def __getitem__(self, rows: Tensor) -> LiftedCloud:
        """The points at `rows`: (M,) int64 indices or (N,) bool, with who saw them."""
        points = super().__getitem__(rows)
        new = torch.full((len(self),), -1, device=self.coord.device)
        new[rows] = torch.arange(len(points), device=self.coord.device)
        return replace(
            self,
            coord=points.coord,
            color=points.color,
            normal=points.normal,
            confidence=None if self.confidence is None else self.confidence[rows],
            visible=None if self.visible is None else _renumbered(self.visible, new.cpu().numpy()),
        )

    def to(self, device: torch.device | str) -> LiftedCloud:
        """The same points on another device."""
        points = super().to(device)
        return replace(
            self,
            coord=points.coord,
            color=points.color,
            normal=points.normal,
            confidence=None if self.confidence is None else self.confidence.to(device),
        )


def _renumbered(
    visible: tuple[NDArray[np.int64], ...], new: NDArray[np.int64]
) -> tuple[NDArray[np.int64], ...]:
    """Rows of x pixel, y pixel and point, with the points' new numbers; -1 is left out."""
    kept = (seen[new[seen[:, 2]] >= 0] for seen in visible)
    return tuple(np.column_stack([seen[:, :2], new[seen[:, 2]]]) for seen in kept)
