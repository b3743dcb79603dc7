"""What asking costs once a scan is encoded: `python -m benchmarks.words`.

A made-up encoding of a room of the wanted number of voxels, with random features and the real
geometry of levels, is asked for many texts at every one of its points.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

from benchmarks.peak import PeakOnCpu
from concerto import ConcertoConfig, Hierarchy, PointCloud, Translator, TranslatorConfig
from concerto.encoder.pooling import pool_grid
from concerto.hierarchy import Level
from concerto.points.voxels import voxelize
from concerto.translator.projection import Projection


@dataclass
class Case:
    """What is asked of what."""

    points: int = 1_000_000
    voxels: int = 300_000
    texts: int = 200
    width: int = 768
    """Dimensions of the joint space."""
    size: Literal["tiny", "small", "base", "large"] = "base"
    stages: tuple[int, ...] = field(default_factory=lambda: (2, 3, 4))
    threads: int = 2
    rounds: int = 3


def measure(case: Case) -> tuple[float, float, float]:
    """Seconds of the best round; MB that the process grew by beyond the answer; MB of the largest
    slice of vectors that was held."""
    torch.set_num_threads(case.threads)
    config = ConcertoConfig.preset(case.size)
    hierarchy = made_up(case, config)
    with torch.device("meta"):
        translator = Translator(TranslatorConfig(config, "none", case.width, case.stages))
    translator.to_empty(device="cpu")
    torch.nn.init.normal_(translator.map.weight, std=0.02)
    torch.nn.init.zeros_(translator.map.bias)
    wanted = F.normalize(torch.randn(case.texts, case.width), dim=1)
    translator.texts = _Asked(wanted)  # type: ignore[assignment]
    peak = PeakOnCpu()
    peak.begin()
    seconds = []
    for _ in range(case.rounds):
        began = time.perf_counter()
        scores = translator(hierarchy, ["asked"] * case.texts)
        seconds.append(time.perf_counter() - began)
        assert scores.shape == (case.points, case.texts)
        del scores
    grown = peak.end()
    answer = case.points * case.texts * 4
    held: list[int] = []

    def note(vectors: Tensor) -> Tensor:
        held.append(vectors.numel() * vectors.element_size())
        return vectors[:, :1]

    Projection(hierarchy, case.stages, translator.map).reduce(note, case.texts)
    return min(seconds), (grown - answer) / 1e6, max(held) / 1e6


def made_up(case: Case, config: ConcertoConfig) -> Hierarchy:
    """Levels of a cube's walls, as many voxels as wanted, with random features."""
    torch.manual_seed(0)
    # Five walls of a cube of edge e have 5 e² / grid² voxels.
    edge = (case.voxels / 5) ** 0.5 * config.grid_size
    coord = torch.rand(case.points, 3) * edge
    wall = torch.randint(0, 5, (case.points,))
    coord[torch.arange(case.points), wall % 3] = torch.where(wall < 3, 0.0, edge)
    voxels = voxelize(PointCloud(coord), config.grid_size, 1.0, "xyz")
    grid, levels = voxels.grid_coord, []
    for stage, channels in enumerate(config.channels):
        offsets = torch.tensor([len(grid)])
        parent, coarse = None, grid
        if stage < config.stages - 1:
            pooling = pool_grid(grid, torch.zeros(len(grid), dtype=torch.int64))
            parent, coarse = pooling.parent, pooling.grid_coord
        feat = torch.randn(len(grid), channels)
        levels.append(Level(feat, torch.zeros(len(grid), 3), grid, offsets, parent))
        grid = coarse
    return Hierarchy(levels, voxels.voxel_of_point, [case.points], config.default_stages, True)


class _Asked:
    """A text tower's answer, known already."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors

    def __call__(self, *_: object) -> Tensor:
        return self.vectors


def main(case: Case) -> None:
    """Measure, and print one line."""
    seconds, grown, held = measure(case)
    print(
        f"{case.points:,} points, {case.voxels:,} voxels, {case.texts} texts of {case.width}, "
        f"{case.size}, stages {case.stages}, {case.threads} threads: {seconds:.2f} s, "
        f"{grown:.0f} MB beyond the answer, largest slice of vectors {held:.0f} MB"
    )


if __name__ == "__main__":
    main(tyro.cli(Case))
