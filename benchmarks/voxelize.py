"""Time and memory of cutting points into voxels: `python -m benchmarks.voxelize`.

The points lie on the sides of a room of 6 x 5 x 3 m, with 3 mm of noise, in random order. Peak
memory is what the process held at the most beyond the cloud, in the first run. Each row of the
table comes from a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch

from benchmarks.normals import room
from benchmarks.peak import PeakOnCpu
from concerto import PointCloud
from concerto.points.voxels import voxelize

GRID_SIZE = 0.02
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--measure", choices=DTYPES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.points, options.runs, options.measure))
        return
    print(f"{options.points:,} points, {torch.get_num_threads()} threads, {options.runs} runs")
    print(f"{'dtype':9}{'voxels':>9}{'median s':>10}{'least':>8}{'most':>8}{'peak MiB':>10}")
    for dtype in DTYPES:
        command = [sys.executable, "-m", "benchmarks.voxelize", "--measure", dtype]
        command += ["--points", str(options.points), "--runs", str(options.runs)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


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
