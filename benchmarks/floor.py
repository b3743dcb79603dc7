"""The least time that an encoding could take: its arithmetic at the best rates of this machine.

Linear layers, convolutions and attention's two products go at the rate of a large matrix product,
attention's exponentials at the rate of exp2; nothing else counts. Rates are those of the fastest
library at hand.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto import ConcertoConfig
from concerto.encoder.cpu import fast_products, product_dtype
from concerto.encoder.pooling import pool_grid
from concerto.encoder.sparse_conv import find_neighbors

EDGE = 2048
SCORES = (12, 1024, 256)
REPEATS = 5


@dataclass(frozen=True)
class Work:
    """What an encoding has to compute: operations of products, and exponentials."""

    operations: float
    exponentials: float


@dataclass(frozen=True)
class Rates:
    """What the machine can: operations a second of products, seconds an exponential."""

    operations: float
    exponential: float

    def seconds(self, work: Work) -> float:
        """The floor."""
        return work.operations / self.operations + work.exponentials * self.exponential


def work_of(config: ConcertoConfig, grid_coord: Tensor) -> Work:
    """Count for one cloud. grid_coord: (n, 3) int64."""
    operations = exponentials = 0.0
    batch = torch.zeros(len(grid_coord), dtype=torch.int64)
    for stage in range(config.stages):
        rows, channels, depth = len(grid_coord), config.channels[stage], config.depths[stage]
        pairs = rows + 2 * len(find_neighbors(grid_coord, batch).behind)
        length = min(config.patch_size[stage], rows)
        scores = -(-rows // length) * length**2
        # One layer of C x C after the convolution, three and one around attention, and the MLP.
        layers = 5 + 2 * config.mlp_ratio
        operations += depth * 2 * channels**2 * (layers * rows + pairs)
        operations += depth * 4 * channels * scores
        exponentials += depth * config.heads[stage] * scores
        if stage + 1 < config.stages:
            operations += 2 * rows * channels * config.channels[stage + 1]
            pooling = pool_grid(grid_coord, batch)
            grid_coord, batch = pooling.grid_coord, pooling.batch
    return Work(operations, exponentials)


def measure_rates(dtype: torch.dtype, device: str) -> Rates:
    """Time products in `dtype`, or float32 where that is far faster, and exponentials in float32,
    the faster type for them."""
    best = product_dtype(torch.empty(0, dtype=dtype, device=device))
    left, right, out = (torch.randn(EDGE, EDGE, device=device).to(best) for _ in range(3))

    def multiply() -> Tensor:
        return torch.mm(left, right, out=out)

    plain = _seconds(multiply)
    with fast_products():
        product = min(plain, _seconds(multiply))
    scores, powers = (torch.rand(SCORES, device=device) for _ in range(2))
    exponential = _seconds(lambda: torch.exp2(scores, out=powers))
    return Rates(2 * EDGE**3 / product, exponential / scores.numel())


def _seconds(run: Callable[[], Tensor]) -> float:
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        if run().is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
