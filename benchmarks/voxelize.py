"""Time and memory of cutting points into voxels: `python -m benchmarks.voxelize`.

The points lie on the sides of a room of 6 x 5 x 3 m, with 3 mm of noise, in random order. Peak
memory is what the process held at the most beyond the cloud, in the first run. Each row of the
table comes from a process of its own.
"""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.normals import room
from benchmarks.peak import PeakOnCpu
from benchmarks.rows import run_rows
from concerto import PointCloud
from concerto.points.voxels import voxelize

GRID_SIZE = 0.02
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def main() -> None:
    header = f"{'dtype':9}{'voxels':>9}{'median s':>10}{'least':>8}{'most':>8}{'peak MiB':>10}"
    run_rows("voxelize", header, DTYPES, measure, points=10_000_000, runs=5)


def measure(points: int, runs: int, dtype: str) -> str:
    """One row of the table."""
    cloud = PointCloud(torch.from_numpy(room(points)).to(DTYPES[dtype]))
    voxelize(PointCloud(cloud.coord[:1000]), GRID_SIZE, 1.0, "xyz")
    peak = PeakOnCpu()
    peak.begin()
    seconds, memory = [], 0
    for _ in range(runs):
        start = time.perf_counter()
        voxels = voxelize(cloud, GRID_SIZE, 1.0, "xyz")
        seconds.append(time.perf_counter() - start)
        memory = memory or peak.end()
    return (
        f"{dtype:9}{len(voxels.points):9,}{statistics.median(seconds):10.3f}{min(seconds):8.3f}"
        f"{max(seconds):8.3f}{memory / 2**20:10.0f}"
    )


if __name__ == "__main__":
    main()
