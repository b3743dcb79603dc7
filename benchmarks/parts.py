"""Where the time of `model.encode(points)` goes, by part and stage."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

import concerto
from benchmarks.workers import Job, encoder_of
from concerto.config import PresetName
from concerto.encoder import point_transformer
from concerto.encoder.attention import PatchAttention
from concerto.encoder.pooling import Pooling
from concerto.encoder.sparse_conv import SubmanifoldConv
from concerto.hierarchy import Hierarchy
from concerto.model import Concerto
from concerto.points.prepare import EncoderInput

# All that is neither attention, convolution, linear layer nor element by element.
GEOMETRY = ("voxels", "curves", "neighbours", "pooling", "way back")
MODULES = {
    SubmanifoldConv: "convolution",
    PatchAttention: "attention",
    nn.Linear: "linear",
    nn.LayerNorm: "norms",
}
FUNCTIONS = (
    (Concerto, "_prepare", "voxels"),
    (point_transformer, "cut", "curves"),
    (point_transformer, "find_neighbors", "neighbours"),
    (point_transformer, "pool_grid", "pooling"),
    (Pooling, "max", "pooling"),
    (Hierarchy, "build", "way back"),
    (Hierarchy, "features", "way back"),
)
REST = "additions, GELU"
RUNS = 5


class Clock:
    """Seconds by (part, stage); what runs within a part's part is the inner one's."""

    def __init__(self) -> None:
        self.seconds: Counter[tuple[str, int]] = Counter()
        self.stage = 0
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what runs within."""
        self._lap()
        self._open.append(name)
        yield
        self._lap()
        self._open.pop()

    def _lap(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1], self.stage] += now - self._since
        self._since = now


def measure_parts(
    size: PresetName, dtype: torch.dtype, device: str, voxels: EncoderInput
) -> dict[tuple[str, int], float]:
    """Median seconds by (part, stage)."""
    model = encoder_of(Job("ours", size, dtype, device))
    coord, color, normal = voxels.feat.split(3, dim=1)
    cloud = concerto.PointCloud(coord, color, normal)
    model.encode(cloud)
    runs = []
    for _ in range(RUNS):
        clock = Clock()
        with _timed(model, clock), clock.part(REST):
            model.encode(cloud)
        runs.append(clock.seconds)
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def geometry_share(seconds: dict[tuple[str, int], float]) -> float:
    """What part of the time is none of attention, convolution, layers and elementwise work."""
    return sum(s for (part, _), s in seconds.items() if part in GEOMETRY) / sum(seconds.values())


def print_parts(size: PresetName, dtype: torch.dtype, device: str, voxels: EncoderInput) -> None:
    """A table: milliseconds of each part in each stage."""
    seconds = measure_parts(size, dtype, device, voxels)
    stages = range(1 + max(stage for _, stage in seconds))
    total = sum(seconds.values())
    print(f"{'ms':16}" + "".join(f"{f'stage {s}':>9}" for s in stages) + f"{'all':>9}{'share':>8}")
    for part in dict.fromkeys([*MODULES.values(), REST, *GEOMETRY]):
        each = [seconds.get((part, stage), 0.0) for stage in stages]
        row = "".join(f"{1e3 * s:9.1f}" for s in [*each, sum(each)])
        print(f"{part:16}{row}{sum(each) / total:8.1%}")
    print(f"{'all':16}{'':{9 * len(stages)}}{1e3 * total:9.1f}")
    print(f"geometry, the last {len(GEOMETRY)} rows: {geometry_share(seconds):.1%}")


@contextmanager
def _timed(model: Concerto, clock: Clock) -> Iterator[None]:
    """Put the clock around the functions and modules that the parts are made of."""
    with ExitStack() as stack:
        for owner, name, part in FUNCTIONS:
            function = _around(getattr(owner, name), part, clock)
            if isinstance(owner.__dict__.get(name), staticmethod):
                function = staticmethod(function)
            stack.enter_context(patch.object(owner, name, function))
        for module in model.modules():
            part = MODULES.get(type(module))
            # A layer within attention is attention.
            inside = isinstance(module, nn.Linear) and module in _within_attention(model)
            if part and not inside:
                # Attention has two ways.
                for name in {"forward", "add_to"} & set(dir(module)):
                    timed = _around(getattr(module, name), part, clock)
                    stack.enter_context(patch.object(module, name, timed))
        yield


def _around(function: Callable[..., Any], part: str, clock: Clock) -> Callable[..., Any]:
    def timed(*args: Any, **options: Any) -> Any:
        with clock.part(part):
            result = function(*args, **options)
        if function.__name__ == "pool_grid":
            clock.stage += 1
        return result

    return timed


def _within_attention(model: Concerto) -> set[nn.Module]:
    attentions = [m for m in model.modules() if isinstance(m, PatchAttention)]
    return {layer for attention in attentions for layer in attention.children()}
