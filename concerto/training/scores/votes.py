"""Test-time votes: a scene is segmented turned, scaled and flipped, and the shares are added up."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from concerto.points.point_cloud import PointCloud
from concerto.segmenter import Segmenter

# Published: four quarter turns at each of three scales, and one flip of x and y.
TURNS = (0.0, 0.5 * math.pi, math.pi, 1.5 * math.pi)
SCALES = (0.95, 1.0, 1.05)


def vote(segmenter: Segmenter, cloud: PointCloud) -> Tensor:
    """The class (N,) int64 of each point by the votes of all 13 views; -1 where left out."""
    total: Tensor | None = None
    for matrix in view_matrices():
        shares = segmenter.probabilities(moved(cloud, matrix))
        assert isinstance(shares, Tensor)
        total = shares if total is None else total + shares
    assert total is not None
    return torch.where(total.any(1), total.argmax(1), -1)


def view_matrices() -> list[Tensor]:
    """(3, 3) float64 each, for columns: turned about z and scaled, and flipped."""
    views = []
    for scale in SCALES:
        for angle in TURNS:
            cos, sin = math.cos(angle), math.sin(angle)
            turn = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float64)
            views.append(scale * turn)
    return [*views, torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))]


def moved(cloud: PointCloud, matrix: Tensor) -> PointCloud:
    """The cloud turned, flipped and scaled about its own middle; normals stay of unit length."""
    coord = cloud.coord.double()
    middle = coord.mean(0, keepdim=True)
    # Put back where it was: a model that does not centre is told by z how high things are.
    coord = (coord - middle) @ matrix.T + middle
    normal = cloud.normal
    if normal is not None:
        turn = matrix / matrix[2, 2]
        normal = (normal.double() @ turn.T).float()
    return PointCloud(coord.to(cloud.coord.dtype), cloud.color, normal)
