"""Scenes as poorer scanners give them: sparse, without colours, without normals.

A map that was taught dense, complete scans alone takes much of a sparse one for floor:
docs/open-vocabulary.md has figures.
"""

from __future__ import annotations

import numpy as np
import torch

from concerto.points.point_cloud import PointCloud
from concerto.training.views.cells import one_a_cell

THIN, NO_COLOR, NO_NORMAL = 0.4, 0.15, 0.25
# Spacing of thinned points, in voxels of the encoder.
SPACING = (1.5, 3.0)


def degrade(
    cloud: PointCloud, voxel: float, random: np.random.Generator
) -> tuple[PointCloud, np.ndarray]:
    """The cloud made poorer by chance, and which rows (m,) of it are left, in their order.

    With p 0.4 only a point is left of each cell of 1.5 to 3 voxels, on a grid that lies anywhere;
    colours go with p 0.15, normals with 0.25. voxel: of the encoder, metres.
    """
    rows = np.arange(len(cloud))
    if random.random() < THIN:
        spacing = random.uniform(*SPACING) * voxel
        places = (cloud.coord.numpy() - cloud.coord.numpy().min(0)) / spacing
        cells = np.floor(places + random.random(3)).astype(np.int64)
        rows = np.sort(one_a_cell(torch.from_numpy(cells), random))
    poorer = cloud[torch.from_numpy(rows)]
    color = None if random.random() < NO_COLOR else poorer.color
    normal = None if random.random() < NO_NORMAL else poorer.normal
    return PointCloud(poorer.coord, color, normal), rows
