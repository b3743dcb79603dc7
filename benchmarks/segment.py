"""What classes cost on top of features: `python -m benchmarks.segment`.

A room of a million points is encoded, and segmented and scored with 20 classes. CPU seconds of
this process, the best of three of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from concerto import Concerto, ConcertoConfig, Segmenter, SegmenterConfig
from concerto.config import PresetName
from concerto.heads import LinearConfig
from concerto.points.point_cloud import PointCloud
from concerto.training.scores import Confusion

POINTS, CLASSES = 1_000_000, 20


def main(preset: PresetName = "tiny") -> None:
    """Print both, and the difference. preset: size of the encoder."""
    encoder = ConcertoConfig.preset(preset)
    names = tuple(f"class {k}" for k in range(CLASSES))
    segmenter = Segmenter(SegmenterConfig(encoder, LinearConfig(), names)).eval()
    cloud, truth = room(), torch.randint(CLASSES, (POINTS,)).numpy()

    def evaluate() -> None:
        found = segmenter(cloud)
        assert isinstance(found, torch.Tensor)
        confusion = Confusion(CLASSES)
        confusion.add(truth, found.numpy())
        confusion.scores()

    encoding = least(lambda: encode(segmenter.model, cloud))
    whole = least(evaluate)
    print(f"encode {encoding:.2f} s, segment and score {whole:.2f} s: {whole / encoding - 1:+.1%}")


def encode(model: Concerto, cloud: PointCloud) -> None:
    """All stages at the voxels, before anything is copied to points."""
    model.infer(cloud, lambda hierarchy: hierarchy.levels[-1].feat)


def room() -> PointCloud:
    """Points on floor and walls of 6 x 6 x 3 m."""
    torch.manual_seed(0)
    coord = torch.rand(POINTS, 3) * torch.tensor([6.0, 6.0, 3.0])
    side = torch.randint(0, 3, (POINTS,))
    coord[torch.arange(POINTS), side] = 0
    normal = torch.nn.functional.one_hot(side, 3).float()
    return PointCloud(coord, torch.rand(POINTS, 3), normal)


def least(work: Callable[[], None]) -> float:
    """CPU seconds of the best of three."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
