"""What classes cost on top of features: `python -m benchmarks.segment`.

A room of a million points is encoded, then its points are given one of 20 classes and scored. CPU
seconds of this process, the least of three of each.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from concerto import ConcertoConfig, Hierarchy, Segmenter, SegmenterConfig
from concerto.config import PresetName
from concerto.heads import LinearConfig
from concerto.points.point_cloud import PointCloud
from concerto.training.scores.confusion import Confusion

POINTS, CLASSES, REPEATS = 1_000_000, 20, 3


def main(preset: PresetName = "tiny") -> None:
    """Print both. preset: size of the encoder."""
    encoder = ConcertoConfig.preset(preset)
    names = tuple(f"class {k}" for k in range(CLASSES))
    segmenter = Segmenter(SegmenterConfig(encoder, LinearConfig(), names)).eval()
    cloud, truth = room(), torch.randint(CLASSES, (POINTS,)).numpy()
    encoding, rest = zip(*(once(segmenter, cloud, truth) for _ in range(REPEATS)), strict=True)
    share = min(rest) / min(encoding)
    print(f"encode {min(encoding):.2f} s, classes and scores {min(rest):.2f} s: {share:.1%}")


def once(segmenter: Segmenter, cloud: PointCloud, truth: np.ndarray) -> tuple[float, float]:
    """CPU seconds until the encoder is done, and of what follows."""
    began = encoded = time.process_time()

    def read(hierarchy: Hierarchy) -> torch.Tensor:
        nonlocal encoded
        encoded = time.process_time()
        return segmenter._classes(hierarchy)

    found = segmenter.model.infer(cloud, read)
    assert isinstance(found, torch.Tensor)
    confusion = Confusion(CLASSES)
    confusion.add(truth, found.numpy())
    confusion.scores()
    return encoded - began, time.process_time() - encoded


def room() -> PointCloud:
    """Points on floor and walls of 6 x 6 x 3 m."""
    torch.manual_seed(0)
    coord = torch.rand(POINTS, 3) * torch.tensor([6.0, 6.0, 3.0])
    side = torch.randint(0, 3, (POINTS,))
    coord[torch.arange(POINTS), side] = 0
    normal = torch.nn.functional.one_hot(side, 3).float()
    return PointCloud(coord, torch.rand(POINTS, 3), normal)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
