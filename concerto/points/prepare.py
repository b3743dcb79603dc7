"""A scene → what the encoder takes: voxels with nine channels, and the way back to the points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from concerto.config import Center
from concerto.errors import InputError
from concerto.points.point_cloud import PointCloud
from concerto.points.voxels import voxelize


@dataclass(frozen=True)
class EncoderInput:
    """One scene as n voxels.

    feat: (n, 9) float32: coordinates (m), colour (0-1), unit normal. grid_coord: (n, 3) int64.
    voxel_of_point: (N,) int64, -1 where a point was left out.
    """

    feat: Tensor
    grid_coord: Tensor
    voxel_of_point: Tensor

    def to(self, device: torch.device) -> EncoderInput:
        """The same on another device."""
        return EncoderInput(
            self.feat.to(device), self.grid_coord.to(device), self.voxel_of_point.to(device)
        )


def prepare(
    cloud: PointCloud, scale: float, grid_size: float, center: Center, drop_invalid: bool = False
) -> EncoderInput:
    """Cut one scene into voxels; a missing colour or normal is zeros.

    scale, grid_size, center: see `ConcertoConfig`. drop_invalid: leave out points whose
    coordinates are not finite.

    Raises InputError where the scene cannot be voxelized, see `voxelize`.
    """
    valid = torch.isfinite(cloud.coord).all(1) if drop_invalid else None
    if valid is not None:
        if not valid.any():
            raise InputError(f"None of the {len(cloud)} points has finite coordinates.")
        cloud = cloud[valid]
    voxels = voxelize(cloud, grid_size, scale, center)
    zeros = torch.zeros_like(voxels.coord)
    color, normal = (
        zeros if values is None else values.index_select(0, voxels.points)
        for values in (cloud.color, cloud.normal)
    )
    rows = voxels.voxel_of_point
    if valid is not None:
        rows = torch.full_like(valid, -1, dtype=torch.int64).masked_scatter(valid, rows)
    return EncoderInput(torch.cat([voxels.coord, color, normal], dim=1), voxels.grid_coord, rows)
