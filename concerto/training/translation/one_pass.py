"""The closed form as a run: every sample once, the sums kept on the way, one solution at the end.

Samples come in blocks, which the processes share; after each, all know the sums so far. What a
block leaves is written as a checkpoint now and then, so a run that was stopped goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from concerto.errors import ConcertoError, InputError, TrainingError
from concerto.training.run.checkpointing import map_checkpoint, step_of, write_checkpoint
from concerto.training.run.folder import as_json, open_run
from concerto.training.run.loop import LoopConfig, TrainResult
from concerto.training.run.metrics import Window
from concerto.training.run.processes import mean_over, on_main
from concerto.training.run.signals import ASKED_BY, StopSignals, leave_to_parent
from concerto.training.run.stream import (
    FEWEST_DRAWN,
    MOST_BROKEN,
    BrokenSample,
    Transform,
    tell_broken,
    transformed,
)
from concerto.training.run.tracking import Progress, Tracking
from concerto.training.scenes.seeds import sample_seed
from concerto.training.scenes.sources import SceneSource
from concerto.training.translation.aligned import AlignedBatch
from concerto.training.translation.normal_equations import NormalEquations
from concerto.training.translation.task import Teaching

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Pass:
    """What the sums are made of. workers: processes of each process that read samples ahead.
    seed: of what the transform draws."""

    source: SceneSource
    transform: Transform
    teaching: Teaching
    workers: int
    seed: int


def sum_over(data: Pass, samples: int, accelerator: Accelerator) -> NormalEquations:
    """The sums over the first so many samples, the same on every process."""
    sums = NormalEquations.zeros(data.teaching.features, data.teaching.width, accelerator.device)
    for part in _own_parts(data, [range(min(samples, len(data.source)))], accelerator):
        _add(data, part, sums, accelerator)
    return sums


class OnePass:
    """The sums over all samples, from where an earlier run of the same settings stopped.

    config: `batch_size` is a block, and `save_every` and `log_every` count blocks. ridge: the
    penalty of the maps whose losses are logged. Raises the errors of `open_run`.
    """

    def __init__(
        self,
        data: Pass,
        config: LoopConfig,
        accelerator: Accelerator,
        settings: dict[str, Any],
        ridge: float,
    ) -> None:
        self.data, self.config, self.accelerator, self.ridge = data, config, accelerator, ridge
        counted = {
            "batch_size": config.batch_size,
            "samples": len(data.source),
            "seed": data.seed,
        }
        self.settings = as_json({"loop": counted, "task": settings})
        teaching = data.teaching
        self.sums = NormalEquations.zeros(teaching.features, teaching.width, accelerator.device)
        self.blocks = _blocks(len(data.source), config.batch_size)
        self.done = self.broken = self.saved = 0
        opened = on_main(
            accelerator,
            lambda: open_run(config.output, self.settings, config.resume, config.allow_changes),
        )
        if opened.checkpoint is not None:
            self._restore(opened.checkpoint)
        self.window = Window()
        self.tracking = Tracking(accelerator, config.output, config.tracker, opened.name, self.done)
        self.progress = Progress(self.done, len(self.blocks), accelerator.is_main_process)

    def run(self) -> TrainResult:
        """To the end, or to SIGTERM or SIGINT; leaves a checkpoint in either case.

        Raises InputError where over 5 % of the samples are broken.
        """
        stopped_by = None
        try:
            with StopSignals() as signals:
                parts = _own_parts(self.data, self.blocks[self.done :], self.accelerator)
                while self.done < len(self.blocks):
                    began = time.perf_counter()
                    part = next(parts)
                    waited = time.perf_counter() - began
                    stopped_by = _asked_to_stop(self.accelerator, signals)
                    if stopped_by is not None:
                        break
                    self.broken += _add(self.data, part, self.sums, self.accelerator)
                    self._report(time.perf_counter() - began, waited)
                self._save()
        finally:
            self.progress.close()
            self.tracking.close()
        return TrainResult(self.done, len(self.blocks), stopped_by)

    def _report(self, seconds: float, waited: float) -> None:
        """After each block: progress, and at their times a line and a checkpoint."""
        self.window.add({}, len(self.blocks[self.done]), seconds, waited)
        self.done += 1
        last = self.done == len(self.blocks)
        samples = len(self.data.source)
        check_broken(self.broken, min(self.done * self.config.batch_size, samples), samples)
        if last or self.done % self.config.log_every == 0:
            entry = self._fit(last)
            entry["samples_per_second"] = self.window.samples / self.window.seconds
            self.tracking.log({"step": self.done, **entry})
            self.progress.line(self.done, entry, self.window)
            self.window = Window()
        self.progress.step({}, self.window)
        if not last and self.done % self.config.save_every == 0:
            self._save()

    def _fit(self, last: bool) -> dict[str, float]:
        """How well the map of the sums so far fits them; without a loss where there is none yet.

        Raises TrainingError where there is none in the end.
        """
        voxels = {"voxels": float(self.sums.count)}
        try:
            loss = self.sums.loss(*self.sums.solve(self.ridge))
        except TrainingError:
            # What is to come may be what is missing: a line of the log is not worth the run.
            if last:
                raise
            return voxels
        return {"loss": float(loss), **voxels}

    def _save(self) -> None:
        if self.saved == self.done:
            return
        content = {
            "settings": self.settings,
            "module": {name: tensor.cpu() for name, tensor in vars(self.sums).items()},
            "broken": self.broken,
        }
        config, done = self.config, self.done
        on_main(
            self.accelerator, lambda: write_checkpoint(config.output, done, content, config.keep)
        )
        self.saved = done

    def _restore(self, file: Path) -> None:
        content = map_checkpoint(file)
        self.done = self.saved = step_of(file)
        self.broken = content["broken"]
        for name, tensor in vars(self.sums).items():
            tensor.copy_(content["module"][name])


def _blocks(samples: int, size: int) -> list[range]:
    return [range(start, min(start + size, samples)) for start in range(0, samples, size)]


@dataclass(frozen=True)
class _Parts(Dataset[list[Any]]):
    """Each block's samples that are this process', prepared; or why one is not."""

    source: SceneSource
    transform: Transform
    blocks: Sequence[range]
    seed: int
    process: int
    processes: int

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, number: int) -> list[Any]:
        own = self.blocks[number][self.process :: self.processes]
        seeds = [sample_seed(self.seed, 0, index) for index in own]
        drawn = zip(own, seeds, strict=True)
        return [transformed(self.source, self.transform, index, seed) for index, seed in drawn]


def _own_parts(
    data: Pass, blocks: Sequence[range], accelerator: Accelerator
) -> Iterator[list[Any]]:
    loader = DataLoader(
        _Parts(
            data.source,
            data.transform,
            blocks,
            data.seed,
            accelerator.process_index,
            accelerator.num_processes,
        ),
        batch_size=None,
        num_workers=data.workers,
        prefetch_factor=1 if data.workers else None,
        generator=torch.Generator(),
        worker_init_fn=leave_to_parent,
    )
    return iter(loader)


def _add(data: Pass, part: list[Any], sums: NormalEquations, accelerator: Accelerator) -> int:
    """Count a block in, on all processes; returns how many of its samples were broken, which are
    warned of.

    What ends the run on one process ends it on all.
    """
    block = NormalEquations.zeros(data.teaching.features, data.teaching.width, accelerator.device)
    broken, failure = 0, None
    for drawn in part:
        if isinstance(drawn, BrokenSample):
            broken += 1
            tell_broken(drawn)
        elif isinstance(drawn, ConcertoError):
            failure = drawn
        else:
            block.add(*data.teaching.pairs(AlignedBatch((drawn,)).to(accelerator.device)))
    shares = mean_over(accelerator, [float(broken), float(failure is not None)])
    if failure is not None:
        raise failure
    if shares[1]:
        raise TrainingError("Another process cannot read its samples; its message says why.")
    sums.merge(block.over_processes())
    broken_in_all: int = round(shares[0] * accelerator.num_processes)
    return broken_in_all


def _asked_to_stop(accelerator: Accelerator, signals: StopSignals) -> int | None:
    """The signal that any process has got."""
    asked = mean_over(accelerator, [float(signals.received == number) for number in ASKED_BY])
    return next((int(n) for n, share in zip(ASKED_BY, asked, strict=True) if share), None)


def check_broken(broken: int, drawn: int, total: int, what: str = "samples") -> None:
    """Raise InputError where too many are broken: of all samples, as those of a scene lie together,
    and break together; or where none of those drawn could be read. what: is counted."""
    none_read = broken == drawn and drawn >= min(total, FEWEST_DRAWN)
    if none_read or (drawn >= FEWEST_DRAWN and broken > MOST_BROKEN * total):
        raise InputError(
            f"{broken} of the {drawn} {what} read so far are broken, over {MOST_BROKEN:.0%} of "
            "all: something is wrong with the data as a whole. What was left out is told above."
        )
