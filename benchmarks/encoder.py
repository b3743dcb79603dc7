"""How fast the encoder is: `python -m benchmarks.encoder [--size base] [--voxels 37000]`.

Three ratios, taken in turns within one run: to the published way of computing the same, to the
floor that arithmetic sets on this machine, and to itself at a tenth of the voxels. Prints a table
and writes JSON. `--profile` says where the time goes. `--check` measures all that
`docs/performance.md` promises, and exits with 1 where a ratio falls short.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast, get_args

import torch
from torch.nn import functional as F

import concerto
from benchmarks.floor import Rates, work_of
from benchmarks.inputs import cropped, dense_scan, filled_room, nearest, sparse_scan
from benchmarks.parts import print_parts
from benchmarks.workers import Job, Result, Worker
from concerto.config import PresetName
from concerto.encoder import Backend
from concerto.points.prepare import EncoderInput

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
INPUTS = ("room", "dense", "sparse")
MIB = 2**20
HEADER = (
    f"{'input':7}{'size':6}{'dtype':9}{'voxels':>9}{'s':>7}{'least':>7}{'most':>7}{'voxels/s':>10}"
    f"{'MiB':>7}{'speed-up':>9}{'memory':>8}{'/ floor':>8}{'/ tenth':>8}{'rel. L2':>9}"
    f"{'cosine':>8}"
)


@dataclass(frozen=True)
class Case:
    """What to measure. voxels: None for all of the input. published: that way too, on a CPU."""

    input: str
    size: PresetName
    dtype: str
    voxels: int | None
    device: str
    backend: Backend
    compiled: bool
    published: bool
    rounds: int


@dataclass(frozen=True)
class Measurement:
    """A row of the table.

    seconds: median; least, most: of all rounds. memory_mib: at the peak, beyond the weights.
    over_floor: the least time over the floor at the best rates. over_tenth, speed_up: medians of
    ratios taken within a round, seconds a voxel to those at a tenth of the voxels, and seconds of
    the published way to ours. relative_l2, median_cosine: of the worst level, to the published way
    in float32.
    """

    case: Case
    voxels: int
    seconds: float
    least: float
    most: float
    memory_mib: float
    over_floor: float
    over_tenth: float
    speed_up: float | None = None
    memory_ratio: float | None = None
    relative_l2: float | None = None
    median_cosine: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=get_args(PresetName), default="base")
    parser.add_argument("--voxels", type=int, default=37_000)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", choices=get_args(Backend), default="torch")
    parser.add_argument("--compiled", action="store_true", help="through torch.compile")
    parser.add_argument("--input", choices=INPUTS, default="room")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="without the published way")
    parser.add_argument("--profile", action="store_true", help="only where the time goes")
    parser.add_argument(
        "--check", action="store_true", help="all promises; exit 1 if one is broken"
    )
    parser.add_argument("--output", type=Path, default=Path("out/encoder.json"))
    options = parser.parse_args()
    case = Case(
        options.input,
        options.size,
        options.dtype,
        None if options.input == "sparse" else options.voxels,
        options.device,
        options.backend,
        options.compiled,
        options.device == "cpu" and not options.alone,
        options.rounds,
    )
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if options.profile:
        print_parts(case.size, DTYPES[case.dtype], case.device, load(case))
        return
    kept = True
    if options.check:
        from benchmarks.promises import check

        measurements, kept = check(case)
    else:
        print(HEADER)
        measurements = [measure(case)]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps([asdict(m) for m in measurements], indent=1) + "\n")
    sys.exit(not kept)


def load(case: Case) -> EncoderInput:
    """The voxels of a case."""
    if case.input == "sparse":
        return cropped(sparse_scan(), case.voxels)
    if case.input == "dense" or case.voxels is None:
        return cropped(dense_scan(), case.voxels)
    return cropped(filled_room(case.voxels), case.voxels)


def measure(case: Case) -> Measurement:
    """Run all ways in turns, once to warm up and compare, then `case.rounds` times; print a row."""
    voxels = load(case)
    count = len(voxels.grid_coord)
    work = work_of(concerto.ConcertoConfig.preset(case.size), voxels.grid_coord)
    dtype = DTYPES[case.dtype]
    job = Job("ours", case.size, dtype, case.device, voxels, case.backend, case.compiled)
    jobs = {
        "ours": job,
        "tenth": replace(job, voxels=nearest(voxels, count // 10)),
        "rates": replace(job, way="rates", voxels=None),
    }
    if case.published:
        jobs["published"] = replace(job, way="published", dtype=torch.float32)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(closing(Worker(j))) for name, j in jobs.items()}
        first = {name: worker.run(features=True) for name, worker in workers.items()}
        rounds = [
            {name: worker.run() for name, worker in workers.items()} for _ in range(case.rounds)
        ]
    seconds = [each["ours"].seconds for each in rounds]
    floors = [cast(Rates, each["rates"].rates).seconds(work) for each in rounds]

    measurement = Measurement(
        case,
        count,
        statistics.median(seconds),
        min(seconds),
        max(seconds),
        first["ours"].memory / MIB,
        min(seconds) / min(floors),
        statistics.median(each["ours"].seconds / each["tenth"].seconds / 10 for each in rounds),
    )
    if case.published:
        measurement = _compared(measurement, first, rounds)
    print(_row(measurement), flush=True)
    return measurement


def _compared(
    measurement: Measurement, first: dict[str, Result], rounds: list[dict[str, Result]]
) -> Measurement:
    """With the ratios to the published way, whose features must be the same."""
    pairs = list(zip(first["ours"].features or [], first["published"].features or [], strict=True))
    return replace(
        measurement,
        speed_up=statistics.median(r["published"].seconds / r["ours"].seconds for r in rounds),
        memory_ratio=first["ours"].memory / first["published"].memory,
        relative_l2=max(float((a - b).norm() / b.norm()) for a, b in pairs),
        median_cosine=min(float(F.cosine_similarity(a, b).median()) for a, b in pairs),
    )


def _row(m: Measurement) -> str:
    def ratio(value: float | None, width: int, digits: int = 2) -> str:
        return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"

    l2 = "-" if m.relative_l2 is None else f"{m.relative_l2:.1e}"
    return (
        f"{m.case.input:7}{m.case.size:6}{m.case.dtype:9}{m.voxels:9,}{m.seconds:7.2f}{m.least:7.2f}"
        f"{m.most:7.2f}{m.voxels / m.seconds:10,.0f}{m.memory_mib:7.0f}{ratio(m.speed_up, 9)}"
        f"{ratio(m.memory_ratio, 8)}{ratio(m.over_floor, 8)}{ratio(m.over_tenth, 8)}{l2:>9}"
        f"{ratio(m.median_cosine, 8, 4)}"
    )


if __name__ == "__main__":
    main()
