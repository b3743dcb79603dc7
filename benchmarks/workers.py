"""Ways to encode, each in a process of its own, so that none lives off another's memory.

The processes take turns: while one runs, the others wait, and what the machine does to one minute
it does to all of them.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal, cast

import torch
from torch import Tensor

import concerto
from benchmarks import published
from benchmarks.floor import Rates, measure_rates
from benchmarks.peak import PeakOnCpu
from concerto.config import PresetName
from concerto.encoder import Backend
from concerto.points.prepare import EncoderInput

Way = Literal["ours", "published", "rates"]
SEED = 0


@dataclass(frozen=True)
class Job:
    """What a process is to time. voxels: what to encode; none for rates."""

    way: Way
    size: PresetName
    dtype: torch.dtype
    device: str
    voxels: EncoderInput | None = None
    backend: Backend = "torch"
    compiled: bool = False


@dataclass(frozen=True)
class Result:
    """Of one run. memory: bytes at the peak of the first run beyond what was held before it."""

    seconds: float
    memory: int
    rates: Rates | None = None
    features: list[Tensor] | None = None


class Worker:
    """A process that does its job once each time it is asked to."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(end, job), daemon=True)
        self._process.start()
        end.close()

    def run(self, features: bool = False) -> Result:
        """One run; `features`: with what came out, in float32, on the CPU."""
        self._connection.send(features)
        return cast(Result, self._connection.recv())

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def encoder_of(job: Job) -> concerto.Concerto:
    """An encoder with random weights, the same in every process."""
    torch.manual_seed(SEED)
    model = concerto.Concerto(concerto.ConcertoConfig.preset(job.size))
    return model.eval().to(job.device, job.dtype)


@torch.no_grad()
def _serve(connection: Connection, job: Job) -> None:
    if job.way == "rates":
        while True:
            connection.recv()
            connection.send(Result(0.0, 0, measure_rates(job.dtype, job.device)))
    run = _encoding(job)
    peak = _PeakOnCuda() if job.device.startswith("cuda") else PeakOnCpu()
    memory: int | None = None
    while True:
        wanted = connection.recv()
        peak.begin()
        start = time.perf_counter()
        features = run()
        seconds = time.perf_counter() - start
        memory = peak.end() if memory is None else memory
        kept = [level.float().cpu() for level in features] if wanted else None
        del features
        connection.send(Result(seconds, memory, features=kept))


def _encoding(job: Job) -> Callable[[], list[Tensor]]:
    model = encoder_of(job)
    model.encoder.backend = job.backend
    encoder = torch.compile(model.encoder, dynamic=True) if job.compiled else model.encoder
    voxels = cast(EncoderInput, job.voxels).to(torch.device(job.device))
    if job.way == "published":
        return lambda: published.encode(model.encoder, voxels.feat, voxels.grid_coord)
    offsets = torch.tensor([len(voxels.feat)], device=job.device)

    def ours() -> list[Tensor]:
        levels = encoder(voxels.feat, voxels.grid_coord, offsets)
        if job.device.startswith("cuda"):
            torch.cuda.synchronize()
        return [level.feat for level in levels]

    return ours


class _PeakOnCuda:
    """What torch had allocated at the most."""

    def begin(self) -> None:
        torch.cuda.reset_peak_memory_stats()
        self.before = torch.cuda.memory_allocated()

    def end(self) -> int:
        return torch.cuda.max_memory_allocated() - self.before
