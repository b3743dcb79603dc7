"""What lifting gives: a point cloud that knows how sure its points are and who saw them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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
