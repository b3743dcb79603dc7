"""Time and memory of `estimate_normals`: `python -m benchmarks.normals [--points 1000000]`.

The cloud is a room of 6 x 5 x 3 m with 3 mm of noise, its points in random order. Peak memory is
the process's, beyond what it took with the cloud and the libraries loaded; it is measured in
a process of its own for each row of the table.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray

import concerto

SIZE = np.array([6.0, 5.0, 3.0])
NOISE = 0.003
VIEWPOINTS = {"agreeing": None, "viewpoint": (3.0, 2.5, 1.5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", choices=VIEWPOINTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.points, options.runs, options.measure))
        return
    print(f"{options.points:,} points, {torch.get_num_threads()} threads, {options.runs} runs")
    print(f"{'orientation':12} {'median s':>9} {'least s':>9} {'peak MiB':>9}")
    for name in VIEWPOINTS:
        command = [sys.executable, "-m", "benchmarks.normals", "--measure", name]
        command += ["--points", str(options.points), "--runs", str(options.runs)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def measure(points: int, runs: int, name: str) -> str:
    """One row of the table."""
    coord = room(points)
    concerto.estimate_normals(coord[:1000])
    before = peak_memory()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        concerto.estimate_normals(coord, viewpoint=VIEWPOINTS[name])
        seconds.append(time.perf_counter() - start)
    memory = (peak_memory() - before) / 2**20
    return f"{name:12} {statistics.median(seconds):9.2f} {min(seconds):9.2f} {memory:9.0f}"


def room(points: int) -> NDArray[np.float64]:
    """(N, 3): points on the six sides of a box, as many on each."""
    random = np.random.default_rng(0)
    coord = random.random((points, 3))
    side = random.integers(0, 6, points)
    coord[np.arange(points), side % 3] = side // 3
    return coord * SIZE + random.normal(scale=NOISE, size=coord.shape)


def peak_memory() -> int:
    """The most that this process has held so far, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
