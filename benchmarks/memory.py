"""What the encoder takes beyond its weights and voxels, against what `max_memory` reckons with:
`python -m benchmarks.memory [--voxels 10000 37000 300000]`.

Each row comes from a process of its own, which has encoded a small room before. "free" is without
a bound, "bounded" under the smallest that is accepted, whose reckoning is printed beside it.
"""

from __future__ import annotations

import argparse
import json

import torch

from benchmarks.inputs import cropped, filled_room, nearest
from benchmarks.peak import PeakOnCpu
from benchmarks.rows import in_own_process
from benchmarks.workers import Job, encoder_of
from concerto.memory import MIN_SLICE_ROWS, working_memory

MIB = 2**20
SIZES = ("small", "base", "large")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WARM_UP = 5000
# Smaller ones have no place for furniture.
SMALLEST_ROOM = 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voxels", type=int, nargs="+", default=[10_000, 37_000, 300_000])
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=SIZES)
    parser.add_argument("--dtypes", choices=DTYPES, nargs="+", default=list(DTYPES))
    parser.add_argument("--measure", choices=("free", "bounded"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        case = options.sizes[0], options.dtypes[0], options.voxels[0]
        print(json.dumps(measure(*case, options.measure == "bounded")))
        return
    print(
        f"{'MiB':6}{'dtype':10}{'voxels':>9}{'free':>8}{'bounded':>9}{'reckoned':>10}{'ratio':>7}"
    )
    for size in options.sizes:
        for dtype in options.dtypes:
            for voxels in options.voxels:
                print(_row(size, dtype, voxels), flush=True)


def measure(size: str, dtype: str, voxels: int, bounded: bool) -> tuple[float, float]:
    """MiB at the peak, and reckoned with."""
    model = encoder_of(Job("ours", size, DTYPES[dtype], "cpu"))  # type: ignore[arg-type]
    room = cropped(filled_room(max(voxels, SMALLEST_ROOM)), voxels)
    small = nearest(room, WARM_UP)
    peak = PeakOnCpu()
    with torch.no_grad():
        model.encoder(small.feat, small.grid_coord, torch.tensor([WARM_UP]))
        peak.begin()
        slices = MIN_SLICE_ROWS if bounded else None
        model.encoder(room.feat, room.grid_coord, torch.tensor([voxels]), slice_rows=slices)
    needed = working_memory(model.config, room.grid_coord, model.dtype.itemsize, MIN_SLICE_ROWS)
    return peak.end() / MIB, needed / MIB


def _row(size: str, dtype: str, voxels: int) -> str:
    case = ("--sizes", size, "--dtypes", dtype, "--voxels", voxels)
    (free, _), (bounded, needed) = (
        json.loads(in_own_process("memory", *case, "--measure", how)) for how in ("free", "bounded")
    )
    return (
        f"{size:6}{dtype:10}{voxels:9,}{free:8.0f}{bounded:9.0f}{needed:10.0f}"
        f"{needed / bounded:7.2f}"
    )


if __name__ == "__main__":
    main()
