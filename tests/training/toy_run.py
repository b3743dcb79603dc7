"""A trainer small enough for tests: a student, its average, dropout, batches by number.

As a program it trains as its options say; what happens to it on the way is a fault of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from concerto.training.loop import LoopConfig, TrainResult, make_accelerator, train
from concerto.training.task import ParameterGroup, Rates, StepOutput, Task

WIDTH = 8


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
        self.scale = nn.Parameter(torch.tensor(1.0))

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
        return [
            ParameterGroup(list(self.module.student.parameters()), self.lr),
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


def toy_batches(
    size: int, rank: int = 0, processes: int = 1, bad: tuple[int, ...] = ()
) -> Callable[[int], Iterator[ToyBatch]]:
    """This process' part of each batch. bad: numbers of batches whose first sample is NaN."""

    def batches(start: int) -> Iterator[ToyBatch]:
        number = start
        while True:
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
    config: LoopConfig, bad: tuple[int, ...] = (), task: ToyTask | None = None
) -> TrainResult:
    """Train the toy in this process."""
    accelerator = make_accelerator(config)
    size = config.forward_size(accelerator.num_processes)
    batches = toy_batches(size, accelerator.process_index, accelerator.num_processes, bad)
    return train(task or ToyTask(), batches, config, accelerator, samples=40)


@dataclass(frozen=True)
class ToyOptions:
    loop: Annotated[LoopConfig, tyro.conf.arg(name="")]
    bad: tuple[int, ...] = ()
    """Batches with a NaN."""
    pause_after: tuple[int, ...] = field(default=())
    """Steps after which to say so on stdout and wait for a line on stdin."""
    half_save: bool = False
    """Write half of each checkpoint, say so, and wait."""


def main(options: ToyOptions) -> int:
    if options.half_save:
        torch.save = half_save

    def pause(done: int) -> None:
        if done in options.pause_after:
            wait_for_parent(f"after {done}")

    return run_toy(options.loop, options.bad, ToyTask(pause)).exit_code


def wait_for_parent(word: str) -> None:
    print(word, flush=True)
    sys.stdin.readline()


def half_save(content: object, stream: Any) -> None:
    stream.write(b"PK\x03\x04 the first half")
    stream.flush()
    wait_for_parent(f"half {Path(stream.name).name}")


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(ToyOptions)))
