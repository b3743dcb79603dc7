"""What several tests share: a small architecture, a small room, and the folder of shared data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from concerto import Concerto, ConcertoConfig, PointCloud

ROOT = Path(__file__).parents[1]
SMALL = ConcertoConfig(
    channels=(8, 16, 16, 24, 32),
    depths=(2, 1, 1, 2, 1),
    heads=(1, 2, 2, 3, 4),
    patch_size=(64, 64, 32, 32, 32),
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden files and scans, from CONCERTO_SHARED, else beside the repository."""
    folder = Path(os.environ.get("CONCERTO_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder of shared data at {folder}; set CONCERTO_SHARED")
    return folder


@pytest.fixture(scope="session")
def model() -> Concerto:
    """A small model with random weights, in evaluation mode."""
    torch.manual_seed(0)
    return Concerto(SMALL).eval()


def random_cloud(points: int, seed: int = 0, extent: float = 1.5) -> PointCloud:
    """Points on three walls of a room, with colours and normals."""
    random = torch.Generator().manual_seed(seed)
    coord = torch.rand(points, 3, generator=random) * extent
    wall = torch.randint(0, 3, (points,), generator=random)
    coord[torch.arange(points), wall] *= 0.02
    normal = torch.nn.functional.one_hot(wall, 3).float()
    return PointCloud(coord, torch.rand(points, 3, generator=random), normal)


def relative_l2(given: torch.Tensor, wanted: torch.Tensor) -> float:
    """|given - wanted| / |wanted|, in float64."""
    given, wanted = given.detach().double(), wanted.detach().double()
    return float((given - wanted).norm() / wanted.norm())
