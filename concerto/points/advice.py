"""Advice about scale: warnings where a scene is far from what the model was trained on.

A model has no notion of "the same, but larger": a cup the size of a room is a room to it. The
bounds are in voxels, so that they hold for rooms in metres and LiDAR sweeps scaled by 0.2 alike.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from concerto.config import ConcertoConfig
from concerto.errors import ConcertoWarning
from concerto.grids import pack, spans
from concerto.points.point_cloud import PointCloud
from concerto.points.prepare import EncoderInput

# A scene of 1 m at 2 cm is an object; at 50 m it is no room. Rooms are some 200 to 1,000 across,
# and LiDAR sweeps, at the 5 cm of the models for them, up to 5,000.
FEW_VOXELS, MANY_VOXELS, MANY_OUTDOORS = 50, 2500, 5000
# What to scale an object to: about 2 m at 2 cm, two to six of the coarsest stage's voxels.
OBJECT_VOXELS = 100
# A surface keeps a quarter of its voxels at the next level, a thinned scan most of them.
SHARE_OF_LONERS = 0.95
CROWDED = 200
# Fewer points are not worth judging; nor are fewer voxels, in density.
ENOUGH, PLENTY = 200, 1000


def advise(
    cloud: PointCloud, voxels: EncoderInput, config: ConcertoConfig, scale: float, grid_size: float
) -> None:
    """Warn, with `ConcertoWarning`, about each thing that is out of proportion.

    scale, grid_size: those in use, see `ConcertoConfig`.
    """
    _precision(cloud.coord, scale, grid_size)
    count, points = len(voxels.grid_coord), int((voxels.voxel_of_point >= 0).sum())
    if points < ENOUGH:
        return
    across = int(voxels.grid_coord.max()) + 1
    extent = f"{across * grid_size / scale:.3g} (in the input's unit)"
    if across < FEW_VOXELS:
        _warn(
            f"The scene spans {extent}, {across} voxels, which is small for this model: coarse "
            f"stages see it as a point or two. For an object, pass a larger scale, such as "
            f"scale={scale * OBJECT_VOXELS / across:.2g}."
        )
        return
    indoors = config.coord_scale == 1
    if across > (MANY_VOXELS if indoors else MANY_OUTDOORS):
        hint = ' For LiDAR sweeps load "concerto-large-outdoor".' if indoors else ""
        _warn(
            f"The scene spans {extent}, {across} voxels, which is large for this model. If the "
            f"unit is not the metre, pass scale= (0.01 for centimetres).{hint}"
        )
    if points > CROWDED * count:
        _warn(
            f"{points / count:.0f} points share a voxel on average, and one stands for them "
            "all. If the unit is not the metre, pass scale=; for more detail, a smaller grid_size."
        )
    elif count >= PLENTY and _share_of_loners(voxels.grid_coord) > SHARE_OF_LONERS:
        _warn(
            f"The points lie far apart: hardly any two of the {count} voxels of "
            f"{grid_size / scale:g} touch. Pass a denser scan, or a larger grid_size; if the unit "
            "is not the metre, pass scale=."
        )


def _precision(coord: Tensor, scale: float, grid_size: float) -> None:
    if coord.dtype != torch.float32:
        return
    far = float(coord.detach().abs().nan_to_num(0, 0).max())
    step = far * torch.finfo(torch.float32).eps
    if step * scale > grid_size / 4:
        _warn(
            f"Coordinates near {far:.3g} are exact to {step:.2g} only in float32, and a voxel is "
            f"{grid_size / scale:g}. Pass float64, or subtract an origin in float64 first."
        )


def _share_of_loners(grid_coord: Tensor) -> float:
    """Voxels of twice the edge over voxels: 1 where none shares its coarser one."""
    coarse = grid_coord >> 1
    one_cloud = torch.zeros((), dtype=torch.int64, device=coarse.device)
    return len(torch.unique(pack(coarse, one_cloud, spans(coarse)))) / len(coarse)


def _warn(message: str) -> None:
    warnings.warn(message, ConcertoWarning, stacklevel=2)
