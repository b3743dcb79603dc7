"""A trainer small enough for tests: a student, its average, dropout, batches by number."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from concerto.training.run import tracking
from concerto.training.run.checkpointing import list_checkpoints, read_run_checkpoint
from concerto.training.run.loop import LoopConfig, TrainResult, make_accelerator, train
from concerto.training.run.metrics import read_metrics
from concerto.training.run.signals import leave_to_parent
from concerto.training.run.task import ParameterGroup, Rates, StepOutput, Task

WIDTH = 8
TIMES = ("samples_per_second", "data_wait")


@dataclass(frozen=True)
class ToyOutput:
    """A result as objectives have it: a dataclass, not a tensor."""

    loss: Tensor
    size: Tensor


class ToyModule(nn.Module):
    """A regression with dropout, beside the average of its weights and a part never used."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(
            nn.Linear(WIDTH, 16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 1)
        )
        self.average = nn.Sequential(
            nn.Linear(WIDTH, 16), nn.GELU(), nn.Identity(), nn.Linear(16, 1)
        )
        self.average.load_state_dict(self.student.state_dict())
        self.average.requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("unit", torch.ones(1))

    def forward(self, inputs: Tensor, targets: Tensor) -> ToyOutput:
        out = self.student(inputs) * self.scale
        return ToyOutput((out[:, 0] - targets).square().mean(), out.abs().mean())


@dataclass(frozen=True)
class ToyBatch:
    names: tuple[str, ...]
    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> ToyBatch:
        return ToyBatch(self.names, self.inputs.to(device), self.targets.to(device))


class ToyTask(Task[ToyBatch]):
    """after: what to do after each step taken, given how many are done."""

    def __init__(self, after: Callable[[int], None] | None = None, lr: float = 0.01) -> None:
        torch.manual_seed(0)
        self.module: ToyModule = ToyModule()
        self.after, self.lr = after, lr
        self.taken = 0

    def forward(self, module: nn.Module, batch: ToyBatch, step: int, total: int) -> StepOutput:
        out = module(batch.inputs, batch.targets)
        return StepOutput(out.loss, {"size": out.size})

    def parameter_groups(self) -> list[ParameterGroup]:
        first, *others = self.module.student.parameters()
        return [
            ParameterGroup([first], self.lr, muon=True),
            ParameterGroup(others, self.lr),
            ParameterGroup([self.module.scale], self.lr / 10, decay=0.0),
        ]

    def rates(self, step: int, total: int) -> Rates:
        return Rates(1 - step / total, 0.1, (0.9 - 0.05 * step / total, 0.99))

    def after_step(self, step: int, total: int, values: Mapping[str, float]) -> None:
        student, average = self.module.student.parameters(), self.module.average.parameters()
        with torch.no_grad():
            for new, mean in zip(student, average, strict=True):
                mean.lerp_(new, 0.1)
        self.taken += 1
        if self.after is not None:
            self.after(step + 1)

    def pictures(self, step: int) -> dict[str, np.ndarray]:
        return {"grey": np.full((4, 6, 3), 128, dtype=np.uint8)}

    def settings(self) -> dict[str, Any]:
        return {"lr": self.lr, "widths": (WIDTH, 16)}

    def extra_state(self) -> dict[str, Any]:
        return {"taken": self.taken}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.taken = state["taken"]


class Crash(Exception):
    """What ends a run without warning."""


def crash_after(step: int) -> ToyTask:
    """A task whose run crashes once so many steps are done."""

    def after(done: int) -> None:
        if done == step:
            raise Crash

    return ToyTask(after)


def toy_batches(
    size: int,
    rank: int = 0,
    processes: int = 1,
    bad: tuple[int, ...] = (),
    fail_at: int | None = None,
) -> Callable[[int], Iterator[ToyBatch]]:
    """This process' part of each batch. bad: numbers of batches whose first sample is NaN.
    fail_at: number of the batch that cannot be read."""

    def batches(start: int) -> Iterator[ToyBatch]:
        number = start
        while True:
            if number == fail_at:
                raise OSError(f"batch {number} cannot be read")
            draw = torch.Generator().manual_seed(number)
            inputs = torch.randn(size * processes, WIDTH, generator=draw)
            targets = inputs[:, 0] - 0.5 * inputs[:, 1]
            if number in bad:
                inputs[0] = torch.nan
            own = slice(rank * size, (rank + 1) * size)
            names = tuple(f"sample-{number}-{i}" for i in range(size * processes))[own]
            yield ToyBatch(names, inputs[own], targets[own])
            number += 1

    return batches


def run_toy(
    config: LoopConfig,
    bad: tuple[int, ...] = (),
    task: ToyTask | None = None,
    shard: bool = False,
    fail_at: int | None = None,
    worker: bool = False,
    samples: int = 40,
) -> TrainResult:
    """Train the toy in this process. shard: with FSDP2, which accelerate does not offer on CPUs."""
    accelerator = make_accelerator(config)
    if shard:
        accelerator.state.distributed_type = DistributedType.FSDP
        # As `accelerate launch` fills in what its configuration leaves out.
        plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_ram_efficient_loading=True)
        if config.precision != "no":
            plugin.set_mixed_precision(config.precision)
        accelerator.state.fsdp_plugin = plugin
    size = config.forward_size(accelerator.num_processes)
    rank, processes = accelerator.process_index, accelerator.num_processes
    batches = toy_batches(size, rank, processes, bad, fail_at)
    if worker:
        batches = by_worker(batches)
    return train(task or ToyTask(), batches, config, accelerator, samples=samples)


@dataclass(frozen=True)
class Numbered(IterableDataset[ToyBatch]):
    """The batches from a number on."""

    batches: Callable[[int], Iterator[ToyBatch]]
    start: int

    def __iter__(self) -> Iterator[ToyBatch]:
        return self.batches(self.start)


def by_worker(
    batches: Callable[[int], Iterator[ToyBatch]],
) -> Callable[[int], Iterator[ToyBatch]]:
    """The same batches, made by a process of its own."""

    def loaded(start: int) -> Iterator[ToyBatch]:
        data = Numbered(batches, start)
        # A child of the forks' server would have the server start its own children too.
        loader = DataLoader(
            data,
            batch_size=None,
            num_workers=1,
            worker_init_fn=leave_to_parent,
            multiprocessing_context="fork",
        )
        return iter(loader)

    return loaded


@dataclass(frozen=True)
class Plan:
    """What a process of its own is to train, and what happens to it on the way.

    pause_after: steps after which to say so to the parent, and wait for its word. half_save: write
    half of each checkpoint, say so, and wait. fail_at: number of the batch that process `fail_rank`
    cannot read. worker: a process of its own makes the batches.
    """

    config: LoopConfig
    bad: tuple[int, ...] = ()
    pause_after: tuple[int, ...] = ()
    half_save: bool = False
    shard: bool = False
    fail_at: int | None = None
    fail_rank: int = 0
    worker: bool = False


class ToyProcess:
    """One process of a run, with a line to it. The forks' server has all modules loaded."""

    def __init__(self, plan: Plan, rank: int = 0, processes: int = 1, port: int = 0) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["toys"])
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_play, args=(plan, theirs, rank, processes, port))
        self.process.start()
        theirs.close()

    def hear(self) -> str:
        """Wait for the process to say where it is."""
        word: str = self.line.recv()
        return word

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def signal_all(self, number: int) -> None:
        """Send it to the process and its workers at once."""
        assert self.process.pid is not None
        os.killpg(self.process.pid, number)

    def go_on(self) -> None:
        """Let it go on."""
        self.line.send("go on")

    def end(self) -> int | None:
        """Wait for its end; returns its exit code, negative where a signal killed it."""
        self.process.join(timeout=240)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError("the process hangs")
        return self.process.exitcode


def group(plan: Plan, processes: int = 2) -> list[ToyProcess]:
    """The processes of one run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [ToyProcess(plan, rank, processes, port) for rank in range(processes)]


def _play(plan: Plan, line: Connection, rank: int, processes: int, port: int) -> None:
    os.setsid()
    # Ignored from the start where a shell runs the tests in its background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tracking.draw_curves = lambda run: None  # longer than all the rest
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    if processes > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
        names |= {"LOCAL_WORLD_SIZE": processes, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in names.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}

    def wait(word: str) -> None:
        line.send(word)
        line.recv()

    def pause(done: int) -> None:
        for _ in range(plan.pause_after.count(done)):
            wait(f"after {done}")

    def half_save(content: object, stream: Any) -> None:
        stream.write(b"PK\x03\x04 the first half")
        stream.flush()
        wait("half")

    if plan.half_save:
        torch.save = half_save
    fail_at = plan.fail_at if rank == plan.fail_rank else None
    result = run_toy(plan.config, plan.bad, ToyTask(pause), plan.shard, fail_at, plan.worker)
    raise SystemExit(result.exit_code)


def same_state(one: Path, two: Path) -> bool:
    """Whether the last checkpoints of two runs hold the same, bit for bit."""
    a, b = (_flat(read_run_checkpoint(list_checkpoints(run)[-1])) for run in (one, two))
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name]) if isinstance(a[name], Tensor) else a[name] == b[name]
        for name in a
    )


def same_story(one: Path, two: Path) -> bool:
    """Whether two runs logged the same, but for the time it took."""
    a, b = (
        [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(run)]
        for run in (one, two)
    )
    return a == b


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif name not in ("seconds", "waited"):
            flat[prefix + name] = value
    return flat
