"""Advice about scale: warnings where a scene is far from what the model was trained on.

A model has no notion of "the same, but larger": a cup the size of a room is a room to it. The
bounds are in voxels, so that they hold for rooms in metres and LiDAR sweeps scaled by 0.2 alike.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import Tensor

from concerto.config import ConcertoConfig
from concerto.errors import ConcertoWarning
from concerto.grids import keys_of
from concerto.points.point_cloud import PointCloud
from concerto.points.prepare import EncoderInput

# A scene of 1 m at 2 cm is an object; at 50 m it is no room. Rooms are some 200 to 1,000 across,
# and LiDAR sweeps, at the 5 cm of the models for them, up to 5,000.
FEW_VOXELS, MANY_VOXELS, MANY_OUTDOORS = 50, 2500, 5000
# What to scale an object to: about 2 m at 2 cm, two to six of the coarsest stage's voxels.
OBJECT_VOXELS = 100
# A surface keeps a quarter of its voxels at the next level, a thinned scan most of them.
SHARE_OF_LONERS = 0.95
# Metres. A sweep's sensor or road is at 0, and beams that rise or fall 15 degrees are 26 m up or
# down at 100 m: half of a sweep's points are never beyond. Heights above the sea mostly are.
HIGH = 30.0
CROWDED = 200
# Fewer points are not worth judging; nor are fewer voxels, in density.
ENOUGH, PLENTY = 200, 1000
# Who calls whom below a line of the user's.
INSIDE = ("concerto", "torch")


class Told:
    """What a model has told: each kind of advice once, where Python shows a warning once.

    The messages name what is wrong with the scene at hand, so those of a stream all differ, and
    Python alone would show each.
    """

    def __init__(self) -> None:
        self._shown: dict[str, dict[Any, Any]] = {}

    def tell(self, kind: str, message: str) -> None:
        """Warn at the line that has called the library, unless the like was shown before."""
        file, line = _caller()
        # Python notes here what it has shown, and forgets it where filters have changed since; it
        # notes nothing where they ask for every warning, or none.
        shown = self._shown.setdefault(kind, {})
        this = (message, ConcertoWarning, line)
        before = next((key for key in shown if isinstance(key, tuple)), None)
        if before is not None:
            shown[this] = True
        warnings.warn_explicit(message, ConcertoWarning, file, line, registry=shown)
        if before in shown and this != before:
            del shown[this]  # One is enough, and a stream would fill the memory.

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or a model that was stored, has told nothing."""
        return {"_shown": {}}


def advise(
    cloud: PointCloud,
    voxels: EncoderInput,
    config: ConcertoConfig,
    scale: float,
    grid_size: float,
    told: Told,
) -> None:
    """Warn, with `ConcertoWarning`, about each thing that is out of proportion.

    scale, grid_size: those in use, see `ConcertoConfig`. told: by the model before.
    """
    _precision(cloud.coord, scale, grid_size, told)
    count, points = len(voxels.grid_coord), int((voxels.voxel_of_point >= 0).sum())
    if points < ENOUGH:
        return
    _height(voxels, config, scale, told)
    across = int(voxels.grid_coord.max()) + 1
    extent = f"{across * grid_size / scale:.3g} (in the input's unit)"
    if across < FEW_VOXELS:
        told.tell(
            "small",
            f"The scene spans {extent}, {across} voxels, which is small for this model: coarse "
            f"stages see it as a point or two. For an object, pass a larger scale, such as "
            f"scale={scale * OBJECT_VOXELS / across:.2g}.",
        )
        return
    indoors = config.coord_scale == 1
    if across > (MANY_VOXELS if indoors else MANY_OUTDOORS):
        hint = ' For LiDAR sweeps load "concerto-large-outdoor".' if indoors else ""
        told.tell(
            "large",
            f"The scene spans {extent}, {across} voxels, which is large for this model. If the "
            f"unit is not the metre, pass scale= (0.01 for centimetres).{hint}",
        )
    if points > CROWDED * count:
        told.tell(
            "crowded",
            f"{points / count:.0f} points share a voxel on average, and one stands for them "
            "all. If the unit is not the metre, pass scale=; for more detail, a smaller grid_size.",
        )
    elif count >= PLENTY and _share_of_loners(voxels.grid_coord) > SHARE_OF_LONERS:
        told.tell(
            "thin",
            f"The points lie far apart: hardly any two of the {count} voxels of "
            f"{grid_size / scale:g} touch. Pass a denser scan, or a larger grid_size; if the unit "
            "is not the metre, pass scale=.",
        )


def _precision(coord: Tensor, scale: float, grid_size: float, told: Told) -> None:
    if coord.dtype != torch.float32:
        return
    far = float(coord.detach().abs().nan_to_num(0, 0).max())
    step = far * torch.finfo(torch.float32).eps
    if step * scale > grid_size / 4:
        told.tell(
            "precision",
            f"Coordinates near {far:.3g} are exact to {step:.2g} only in float32, and a voxel is "
            f"{grid_size / scale:g}. Pass float64, or subtract an origin in float64 first.",
        )


def _height(voxels: EncoderInput, config: ConcertoConfig, scale: float, told: Told) -> None:
    if config.center == "xyz":
        return
    height = float(voxels.feat[:, 2].detach().median())
    if abs(height) > HIGH * config.coord_scale:
        told.tell(
            "high",
            f"The points lie around z = {height / scale:.4g} (in the input's unit), and this model "
            "takes heights as they are: it knows sweeps with the sensor or the road near 0. "
            "Subtract the ground's height from z first.",
        )


def _share_of_loners(grid_coord: Tensor) -> float:
    """Voxels of twice the edge over voxels: 1 where none shares its coarser one."""
    coarse = grid_coord >> 1
    return len(torch.unique(keys_of(coarse))) / len(coarse)


def _caller() -> tuple[str, int]:
    """File and line of who has called this library, be it by a module's call."""
    frame = inspect.currentframe()
    assert frame is not None
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in INSIDE:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
