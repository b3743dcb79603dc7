"""One run, step after step: what is decided together, what is skipped, what is kept.

Each step the processes exchange two short rows of numbers. Before the forward pass: has anyone been
told to stop, or run out of data? After the backward pass: the values to log, whose means show to
all alike whether the step can be taken. So all take it, skip it, save and end together.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import torch
from torch import Tensor

from concerto.errors import CheckpointError, ConcertoWarning, TrainingError
from concerto.training.run.checkpointing import map_checkpoint, step_of, write_checkpoint
from concerto.training.run.folder import as_json, open_run
from concerto.training.run.metrics import Window
from concerto.training.run.optimizer import Optimizer
from concerto.training.run.processes import gather_lists, mean_over, on_main, spread
from concerto.training.run.signals import ASKED_BY, StopSignals
from concerto.training.run.state import (
    gather_module,
    gather_optimizer,
    restore_module,
    restore_optimizer,
    whole,
)
from concerto.training.run.task import BatchT, StepOutput, Task
from concerto.training.run.tracking import Progress, Tracking
from concerto.training.scenes.seeds import sample_seed

if TYPE_CHECKING:
    from accelerate import Accelerator

    from concerto.training.run.loop import LoopConfig


class Trainer(Generic[BatchT]):
    """One run: what changes from step to step, and how."""

    def __init__(
        self,
        task: Task[BatchT],
        config: LoopConfig,
        accelerator: Accelerator,
        total: int,
        samples: int | None,
    ) -> None:
        self.task, self.config, self.accelerator = task, config, accelerator
        self.total, self.samples = total, samples
        self.settings = as_json(
            {"loop": _what_matters(config, total, samples), "task": task.settings()}
        )
        opened = on_main(
            accelerator,
            lambda: open_run(config.output, self.settings, config.resume, config.allow_changes),
        )
        groups = task.parameter_groups()
        optimizer = Optimizer(groups)
        # Not the groups: they would keep whole parameters alive beside their shards.
        self.bases = [(group.lr, group.decay) for group in groups]
        del groups
        self.module, self.optimizer = spread(accelerator, task.module, optimizer)
        self.done = self.bad_in_row = self.skipped = 0
        self.window = Window()
        self.saved: int | None = None
        if opened.checkpoint is not None:
            self._restore(opened.checkpoint)
        self.tracking = Tracking(accelerator, config.output, config.tracker, opened.name, self.done)
        self.progress = Progress(self.done, total, accelerator.is_main_process)

    def run(self, batches: Callable[[int], Iterator[BatchT]]) -> int | None:
        """Step after step, to the end or to a signal, which is returned."""
        stopped_by = None
        with StopSignals() as signals:
            stream = batches(self.done * self.config.accumulate)
            while self.done < self.total and stopped_by is None:
                began = time.perf_counter()
                fetched = _fetch(stream, self.config.accumulate)
                waited = time.perf_counter() - began
                stopped_by = self._agree(signals, fetched)
                if stopped_by is None:
                    assert isinstance(fetched, list)
                    values = self._step(fetched)
                    seconds = time.perf_counter() - began
                    self.window.add(values, self.config.batch_size, seconds, waited)
                    self._report(values)
            self._save()
        return stopped_by

    def close(self) -> None:
        """Give terminal, trackers and module back as they were."""
        self.progress.close()
        self.tracking.close()
        self.accelerator.unwrap_model(self.module, keep_fp32_wrapper=False)

    def _agree(self, signals: StopSignals, fetched: list[BatchT] | Exception) -> int | None:
        """The signal that any process has got, if any. Where the data of any have failed, saves
        and raises, on all."""
        failed = isinstance(fetched, Exception)
        own = [float(signals.received == number) for number in ASKED_BY]
        *asked, failures = mean_over(self.accelerator, [*own, float(failed)])
        for number, share in zip(ASKED_BY, asked, strict=True):
            if share:
                return int(number)
        if failures:
            self._save()
            if isinstance(fetched, Exception):
                raise fetched
            raise TrainingError("Another process ran out of data; its message says why.")
        return None

    def _step(self, batches: list[BatchT]) -> dict[str, float]:
        """One optimiser step; returns what to log of it, nothing where it was skipped."""
        self._set_rates()
        outputs = self._passes(batches)
        # Without a bound the norm is measured all the same.
        bound = math.inf if self.config.clip_norm is None else self.config.clip_norm
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), bound)
        own = {
            "loss": _mean([output.loss for output in outputs]),
            **{name: _mean([o.values[name] for o in outputs]) for name in outputs[0].values},
            "grad_norm": whole(norm),
        }
        means = dict(zip(own, mean_over(self.accelerator, list(own.values())), strict=True))
        finite = math.isfinite(means["loss"]) and math.isfinite(means["grad_norm"])
        if finite:
            self.optimizer.step()
            self.task.after_step(self.done, self.total, means)
        elif self.accelerator.scaler is not None:
            self.accelerator.scaler.update()
        self.optimizer.zero_grad()
        self.done += 1
        if finite:
            self.bad_in_row = 0
            return means
        self._skip(means, self._suspects(batches, outputs))
        return {}

    def _passes(self, batches: list[BatchT]) -> list[StepOutput]:
        """This process' forward passes, their gradients added up."""
        from accelerate.utils import send_to_device

        torch.manual_seed(sample_seed(self.config.seed, self.done, self.accelerator.process_index))
        outputs: list[StepOutput] = []
        for batch in batches:
            last = len(outputs) == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.module):
                placed = send_to_device(batch, self.accelerator.device, non_blocking=True)
                output = self.task.forward(self.module, placed, self.done, self.total)
                self.accelerator.backward(output.loss / len(batches))
            outputs.append(StepOutput(output.loss.detach(), output.values))
        return outputs

    def _suspects(self, batches: list[BatchT], outputs: list[StepOutput]) -> list[str]:
        """The samples, of all processes, of those passes whose loss is not finite. A gradient may
        fail where no loss does; then it may have been any."""
        names = [list(self.task.names(batch)) for batch in batches]
        finite = [bool(output.loss.isfinite()) for output in outputs]
        bad = [name for own, good in zip(names, finite, strict=True) if not good for name in own]
        return gather_lists(self.accelerator, bad) or gather_lists(
            self.accelerator, [*chain(*names)]
        )

    def _set_rates(self) -> None:
        rates = self.task.rates(self.done, self.total)
        for group, (lr, decay) in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = lr * rates.lr_factor
            group["weight_decay"] = decay * rates.weight_decay
            group["betas"] = rates.betas

    def _skip(self, means: Mapping[str, float], names: list[str]) -> None:
        """Tell of a step that was left out; raises TrainingError where there are too many."""
        self.bad_in_row += 1
        self.skipped += 1
        what = f"loss {means['loss']:g}, gradient norm {means['grad_norm']:g}"
        self.tracking.skipped(self.done, what, names)
        if self.bad_in_row >= self.config.max_bad_steps:
            raise TrainingError(
                f"{self.bad_in_row} steps in a row had a loss or gradient that is not finite; step "
                f"{self.done}: {what}, samples {', '.join(names)}. Lower the learning rate or the "
                "bound of the gradient's norm, prefer bf16 to fp16, and look at these samples."
            )

    def _report(self, values: Mapping[str, float]) -> None:
        """After each step: progress, and at their times a line, a checkpoint, pictures."""
        config, done = self.config, self.done
        self.progress.step(values, self.window)
        if done == 1 or done == self.total or done % config.log_every == 0:
            self._log()
        last = done == self.total
        drawn = config.picture_every > 0 and (last or done % config.picture_every == 0)
        if drawn or done % config.save_every == 0:
            try:
                self._save()
            except CheckpointError as error:
                if last:
                    raise
                if self.accelerator.is_main_process:
                    warnings.warn(f"{error} Training goes on.", ConcertoWarning, stacklevel=2)
        # After the checkpoint: a process that dies of a picture does not come back to it for ever.
        if drawn:
            self.tracking.pictures(done, self.task.pictures(done))

    def _log(self) -> None:
        window, self.window = self.window, Window()
        if not window.counted:
            return
        entry: dict[str, float] = {"step": self.done}
        if self.samples is not None:
            entry["epoch"] = self.done * self.config.batch_size / self.samples
        entry |= window.means()
        entry["lr"] = max(group["lr"] for group in self.optimizer.param_groups)
        entry["weight_decay"] = max(g["weight_decay"] for g in self.optimizer.param_groups)
        entry["skipped"] = self.skipped
        entry["samples_per_second"] = window.samples / window.seconds
        entry["data_wait"] = window.waited / window.seconds
        if self.accelerator.device.type == "cuda":
            entry["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self.tracking.log(entry)
        self.progress.line(self.done, window.means(), window)

    def _save(self) -> None:
        """Write a checkpoint of now. Raises CheckpointError, on every process alike."""
        if self.saved == self.done:
            return
        main, scaler = self.accelerator.is_main_process, self.accelerator.scaler
        module, optimizer = self.task.module, self.optimizer.optimizer
        content = {
            "settings": self.settings,
            "module": gather_module(module, main),
            "optimizer": gather_optimizer(optimizer, module, main),
            "scaler": None if scaler is None else scaler.state_dict(),
            "task": self.task.extra_state(),
            "loop": {
                "skipped": self.skipped,
                "bad_in_row": self.bad_in_row,
                "window": asdict(self.window),
            },
        }
        config = self.config
        on_main(
            self.accelerator,
            lambda: write_checkpoint(config.output, self.done, content, config.keep),
        )
        self.saved = self.done
        self.tracking.curves()

    def _restore(self, file: Path) -> None:
        """Go on from a checkpoint, which every process reads."""
        content = map_checkpoint(file)
        restore_module(self.task.module, content["module"], file)
        restore_optimizer(self.optimizer.optimizer, self.task.module, content["optimizer"])
        if self.accelerator.scaler is not None and content["scaler"]:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        self.task.load_extra_state(content["task"])
        self.skipped = content["loop"]["skipped"]
        self.bad_in_row = content["loop"]["bad_in_row"]
        self.window = Window(**content["loop"]["window"])
        self.done = self.saved = step_of(file)


def _fetch(stream: Iterator[BatchT], count: int) -> list[BatchT] | Exception:
    """The batches of a step, or what kept them from coming, for all processes to hear of."""
    try:
        return [next(stream) for _ in range(count)]
    except StopIteration:
        return TrainingError("The batches came to an end before the run; they must be endless.")
    except Exception as error:
        return error


def _mean(values: Sequence[Tensor | float]) -> Tensor:
    return torch.stack([torch.as_tensor(value).detach().float() for value in values]).mean()


def _what_matters(config: LoopConfig, total: int, samples: int | None) -> dict[str, Any]:
    """The settings that a resumed run must share with the one before.

    Of other samples the order would be another: some would come twice, and some not at all.
    """
    names = ("batch_size", "accumulate", "precision", "clip_norm", "seed")
    return {"steps": total, "samples": samples, **{name: getattr(config, name) for name in names}}
