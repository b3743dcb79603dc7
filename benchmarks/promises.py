"""What `docs/performance.md` promises of the encoder on a CPU: `benchmarks.encoder --check`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from benchmarks.parts import geometry_share, measure_parts
from concerto.config import PresetName

if TYPE_CHECKING:
    from benchmarks.encoder import Case, Measurement


@dataclass(frozen=True)
class Promise:
    """Bounds for one size on the filled room."""

    size: PresetName
    float32: float
    bfloat16: float
    over_floor: float


PROMISES = (
    Promise("small", 5.0, 6.0, 1.7),
    Promise("base", 4.5, 6.5, 1.6),
    Promise("large", 4.0, 6.0, 1.5),
)
ON_SPARSE_SCAN = 3.5
MEMORY = 0.4
GEOMETRY = 0.08
SAME = 1e-5
HALF_L2, HALF_COSINE = 3e-2, 0.999
# Rounds on the sparse scan, where the published way takes half a minute.
SPARSE_ROUNDS = 2
# Of the base alone: seconds a voxel against a tenth of the voxels, and memory of a million.
MANY, LINEAR = 300_000, 1.15
MILLION, MILLION_MIB = 1_000_000, 12 * 2**10


def check(case: Case) -> tuple[list[Measurement], bool]:
    """Measure everything; print a line for each promise. Returns the rows, and whether all hold."""
    from benchmarks.encoder import HEADER, load, measure

    rows, verdicts = [], []

    def judge(what: str, value: float | None, bound: float, least: bool = True) -> None:
        kept = value is not None and (value >= bound if least else value <= bound)
        sign = "≥" if least else "≤"
        verdicts.append(
            (kept, f"{'kept' if kept else 'BROKEN':7}{what}: {value:.4g} {sign} {bound:g}")
        )

    print(HEADER)
    for promise in PROMISES:
        size = promise.size
        single = measure(replace(case, size=size, dtype="float32"))
        half = measure(replace(case, size=size, dtype="bfloat16"))
        sparse = measure(
            replace(
                case, size=size, dtype="float32", input="sparse", voxels=None, rounds=SPARSE_ROUNDS
            )
        )
        rows += [single, half, sparse]
        judge(f"{size} float32, speed-up", single.speed_up, promise.float32)
        judge(f"{size} bfloat16, speed-up", half.speed_up, promise.bfloat16)
        judge(f"{size} sparse scan, speed-up", sparse.speed_up, ON_SPARSE_SCAN)
        judge(f"{size} float32, over the floor", single.over_floor, promise.over_floor, least=False)
        for row in (single, half):
            judge(f"{size} {row.case.dtype}, memory", row.memory_ratio, MEMORY, least=False)
        if size == "base":
            parts = measure_parts(size, torch.float32, case.device, load(case))
            judge(f"{size} geometry's share", geometry_share(parts), GEOMETRY, least=False)
        judge(f"{size} float32, relative L2", single.relative_l2, SAME, least=False)
        judge(f"{size} bfloat16, relative L2", half.relative_l2, HALF_L2, least=False)
        judge(f"{size} bfloat16, cosine", half.median_cosine, HALF_COSINE)
    alone = replace(case, size="base", dtype="float32", published=False, rounds=1)
    many = measure(replace(alone, voxels=MANY, rounds=SPARSE_ROUNDS))
    million = measure(replace(alone, voxels=MILLION))
    rows += [many, million]
    judge(f"base, {MANY:,} voxels, seconds a voxel", many.over_tenth, LINEAR, least=False)
    judge(f"base, {MILLION:,} voxels, MiB", million.memory_mib, MILLION_MIB, least=False)
    for _, line in verdicts:
        print(line)
    return rows, all(kept for kept, _ in verdicts)
