"""Rows of a table: each measured in a process of its own, and how a cell sums up several runs."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable
from statistics import mean, stdev


def run_rows(
    module: str,
    header: str,
    names: Iterable[str],
    measure: Callable[[int, int, str], str],
    points: int,
    runs: int,
) -> None:
    """The command line of a benchmark whose rows differ in one name.

    module: the benchmark's, in this folder. measure: makes a row of points, runs and a name.
    points, runs: what these are by default.
    """
    import torch  # Not above: what this takes, `benchmarks.load` measures.

    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}")
    parser.add_argument("--points", type=int, default=points)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--measure", choices=names, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.points, options.runs, options.measure))
        return
    print(f"{options.points:,} points, {torch.get_num_threads()} threads, {options.runs} runs")
    print(header)
    sizes = ("--points", options.points, "--runs", options.runs)
    for name in names:
        print(in_own_process(module, "--measure", name, *sizes), end="", flush=True)


def in_own_process(module: str, *arguments: object) -> str:
    """What a benchmark prints, run with these arguments in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def spread(values: list[float]) -> str:
    """The mean, and of several values the standard deviation."""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
