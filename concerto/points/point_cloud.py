"""The one form that points take inside the library."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PointCloud:
    """N points of one scene.

    coord: (N, 3) float32 or float64, metres. color: (N, 3) float32 in 0-1, or None.
    normal: (N, 3) float32 of unit length, zero where unknown, or None.
    """

    coord: Tensor
    color: Tensor | None = None
    normal: Tensor | None = None

    def __len__(self) -> int:
        return len(self.coord)

    def __getitem__(self, rows: Tensor) -> PointCloud:
        """The points at `rows`: (M,) int64 indices or (N,) bool."""
        return PointCloud(
            self.coord[rows],
            None if self.color is None else self.color[rows],
            None if self.normal is None else self.normal[rows],
        )

    def to(self, device: torch.device | str) -> PointCloud:
        """The same points on another device."""
        return PointCloud(
            self.coord.to(device),
            None if self.color is None else self.color.to(device),
            None if self.normal is None else self.normal.to(device),
        )
