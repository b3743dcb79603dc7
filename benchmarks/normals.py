"""Time and memory of `estimate_normals`: `python -m benchmarks.normals [--points 1000000]`.

The cloud is a room of 6 x 5 x 3 m with 3 mm of noise, its points in random order. Peak memory is
what the process held at the most beyond the cloud and the libraries. Each row of the table comes
from a process of its own.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from numpy.typing import NDArray

import concerto
from benchmarks.peak import PeakOnCpu
from benchmarks.rows import run_rows

SIZE = np.array([6.0, 5.0, 3.0])
NOISE = 0.003
VIEWPOINTS = {"agreeing": None, "viewpoint": (3.0, 2.5, 1.5)}


def main() -> None:
    header = f"{'orientation':12} {'median s':>9} {'least s':>9} {'peak MiB':>9}"
    run_rows("normals", header, VIEWPOINTS, measure, points=1_000_000, runs=3)


def measure(points: int, runs: int, name: str) -> str:
    """One row of the table."""
    coord = room(points)
    concerto.estimate_normals(coord[:1000])
    peak = PeakOnCpu()
    peak.begin()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        concerto.estimate_normals(coord, viewpoint=VIEWPOINTS[name])
        seconds.append(time.perf_counter() - start)
    memory = peak.end() / 2**20
    return f"{name:12} {statistics.median(seconds):9.2f} {min(seconds):9.2f} {memory:9.0f}"


def room(points: int) -> NDArray[np.float64]:
    """(N, 3): points on the six sides of a box, as many on each."""
    random = np.random.default_rng(0)
    coord = random.random((points, 3))
    side = random.integers(0, 6, points)
    coord[np.arange(points), side % 3] = side // 3
    return coord * SIZE + random.normal(scale=NOISE, size=coord.shape)


if __name__ == "__main__":
    main()
