"""Time of the views of a sample on one core: `python -m benchmarks.views [--points 163000]`.

The sample is a room of 7 x 6 x 2.7 m, its points in random order, seen by four images of 518 x 518
pixels (`--image 640x480` has them cut and resized). Each run has a seed of its own, so the spread
is that of random sizes and choices too. The parts are timed inside the same runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from types import ModuleType

import numpy as np
import torch

from benchmarks.clock import Clock
from concerto.training.scenes.samples import Sample
from concerto.training.scenes.seeds import sample_seed
from concerto.training.views import augment, crops
from concerto.training.views.crops import ViewConfig, make_views

ROOM = np.array([7.0, 6.0, 2.7])
NOISE = 0.003
PARTS: dict[str, tuple[ModuleType, str]] = {
    "check the sample": (crops, "check_sample"),
    "voxels, drops, pixels": (crops, "_thin"),
    "crops": (crops, "_crops"),
    "colours": (crops, "augment_color"),
    "elastic distortion": (augment, "distort"),
    "other geometry": (crops, "augment_geometry"),
    "voxels of the views": (crops, "_view"),
    "cut and resize images": (crops, "fit_image"),
    "offset and blur images": (crops, "augment_images"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=163_000)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--image", default="518x518", metavar="WIDTHxHEIGHT")
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    width, height = map(int, options.image.split("x"))
    sample = room(options.points, options.images, width, height)
    print(f"{options.points:,} points, {options.images} images of {options.image}, one core")
    report(*measure(sample, options.runs))


def measure(sample: Sample, runs: int) -> tuple[list[float], dict[str, list[float]]]:
    """Seconds of each run, and of each part of it."""
    clock = Clock()
    for part, (module, name) in PARTS.items():
        setattr(module, name, clock.timed(part, getattr(module, name)))
    config = ViewConfig()
    make_views(sample, config, sample_seed(0, 0, 0))
    total, parts = [], defaultdict(list)
    for run in range(runs):
        clock.seconds.clear()
        start = time.perf_counter()
        make_views(sample, config, sample_seed(0, 1, run))
        total.append(time.perf_counter() - start)
        for part in PARTS:
            parts[part].append(clock.seconds[part])
        parts["rest"].append(total[-1] - sum(clock.seconds.values()))
    return total, parts


def report(total: list[float], parts: dict[str, list[float]]) -> None:
    print(f"{'seconds':24}{'median':>8}{'least':>8}{'most':>8}{'mean':>8}{'share':>8}")
    for name, seconds in (*parts.items(), ("all", total)):
        print(
            f"{name:24}{statistics.median(seconds):8.3f}{min(seconds):8.3f}{max(seconds):8.3f}"
            f"{statistics.mean(seconds):8.3f}{sum(seconds) / sum(total):8.0%}"
        )


def room(points: int, images: int, width: int, height: int) -> Sample:
    """The six sides of a box, and cameras in its middle."""
    random = np.random.default_rng(0)
    side = random.integers(0, 6, points)
    coord = random.random((points, 3))
    coord[np.arange(points), side % 3] = side // 3
    coord = coord * ROOM + random.normal(scale=NOISE, size=coord.shape)
    return Sample(
        name="room",
        coord=coord.astype(np.float32),
        color=random.integers(0, 256, (points, 3), dtype=np.uint8),
        normal=(np.eye(3)[side % 3] * np.where(side < 3, 1, -1)[:, None]).astype(np.float32),
        images=tuple(
            random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(images)
        ),
        seen=tuple(look(coord, angle, width, height) for angle in 0.3 * np.arange(images)),
    )


def look(coord: np.ndarray, angle: float, width: int, height: int) -> np.ndarray:
    """Rows of x pixel, y pixel, point, of a level pinhole camera in the middle of the room."""
    ahead = np.array([np.cos(angle), np.sin(angle), 0])
    right = np.array([np.sin(angle), -np.cos(angle), 0])
    offset = coord - ROOM / 2
    depth, focal = offset @ ahead, 0.6 * width
    with np.errstate(all="ignore"):
        x = np.floor(width / 2 + focal * (offset @ right) / depth)
        y = np.floor(height / 2 - focal * offset[:, 2] / depth)
    inside = (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.stack([x, y, np.arange(len(coord))], 1)[inside].astype(np.int64)


if __name__ == "__main__":
    main()
