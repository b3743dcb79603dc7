"""The training loop: batches in, a trained module and a folder with its whole history out.

It knows no objective and no data. A `Task` says what one forward pass is, a function gives this
process' batches from any number on, and everything else that a run of days needs is here or beside.

The folder of a run holds `run.json` (settings), `metrics.jsonl` (what was logged), `curves.png`,
`tensorboard/`, `pictures/`, and `checkpoints/step-*.pt`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from concerto.encoder.cpu import has_products
from concerto.errors import ConcertoWarning, ConfigError
from concerto.extras import import_extra
from concerto.fields import check_integer
from concerto.training.run.processes import check_distribution
from concerto.training.run.task import BatchT, Task
from concerto.training.run.tracking import require_tracker
from concerto.training.run.trainer import Trainer

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class LoopConfig:
    """How a run goes, whatever it trains."""

    output: Path
    """Folder of the run: checkpoints, logs, pictures. Must be empty, or a run to resume."""
    batch_size: int = 4
    """Samples in one step, over all processes and accumulated passes together."""
    epochs: float = 1.0
    """Passes over the data."""
    max_steps: int | None = None
    """Steps to train, instead of epochs; schedules span them."""
    accumulate: int = 1
    """Forward passes that a step is split into, to save memory. Each is a batch of its own, of
    batch_size / accumulate samples: what an objective reckons over a batch, it reckons over
    those."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision; fp16 needs a GPU."""
    clip_norm: float | None = None
    """Bound on the norm of all gradients together."""
    seed: int = 0
    """What all randomness of the run comes from."""
    log_every: int = 10
    """Steps from one logged line to the next; it holds means over them."""
    save_every: int = 500
    """Steps from one checkpoint to the next."""
    keep: int = 2
    """Checkpoints to keep, the latest ones."""
    picture_every: int = 0
    """Steps from one set of pictures to the next, with a checkpoint before each; 0 makes none."""
    resume: bool = False
    """Go on from the latest whole checkpoint of the output folder; begin where there is none."""
    allow_changes: bool = False
    """Resume although settings differ from the checkpoint's; they are named in a warning."""
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    """Where curves go besides the folder."""
    max_bad_steps: int = 20
    """Steps in a row with a loss or gradient that is not finite, after which the run stops."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        check_integer(
            self, "accumulate", "log_every", "save_every", "keep", "max_bad_steps", least=1
        )
        check_integer(self, "picture_every", least=0)
        if not 0 < self.epochs < math.inf:
            raise ConfigError(f"epochs is {self.epochs:g}; it must be over 0, and end.")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ConfigError(f"clip_norm is {self.clip_norm:g}; a bound is over 0.")

    def forward_size(self, processes: int) -> int:
        """Samples of one forward pass on one process. Raises ConfigError where it is no integer."""
        if self.batch_size < 1 or self.batch_size % (processes * self.accumulate):
            raise ConfigError(
                f"A batch of {self.batch_size} samples does not divide into {processes} processes "
                f"of {self.accumulate} forward passes each; it must be a multiple of "
                f"{processes * self.accumulate}."
            )
        return self.batch_size // (processes * self.accumulate)

    def total_steps(self, samples: int | None) -> int:
        """Steps of the run. samples: in one epoch, None where unknown, which needs max_steps."""
        if self.max_steps is None and samples is None:
            raise ConfigError("How long an epoch of these data is is unknown: pass --max-steps.")
        steps = self.max_steps
        if steps is None:
            assert samples is not None
            steps = math.ceil(self.epochs * samples / self.batch_size)
        if steps < 1:
            raise ConfigError(f"The run would have {steps} steps; it needs at least one.")
        return steps


@dataclass(frozen=True)
class TrainResult:
    """How a run ended. steps: how many are done. signal: what stopped it early, by its number."""

    steps: int
    total: int
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """0 where the run is through, else 128 + signal, as shells have it."""
        return 0 if self.signal is None else 128 + self.signal


def make_accelerator(config: LoopConfig) -> Accelerator:
    """The processes, device and precision of this run, as `accelerate launch` set them up.

    Raises MissingExtraError without accelerate or the tracker, ConfigError where the precision or
    the way to shard cannot be had.
    """
    accelerate = import_extra("accelerate", "Training runs", "train")
    if config.tracker != "none":
        require_tracker(config.tracker)
    # One process may train several times, each in its own precision.
    accelerate.state.AcceleratorState._reset_state()
    try:
        accelerator: Accelerator = accelerate.Accelerator(
            mixed_precision=config.precision,
            log_with=None if config.tracker == "none" else config.tracker,
            project_dir=config.output,
            kwargs_handlers=[
                accelerate.DistributedDataParallelKwargs(gradient_as_bucket_view=True)
            ],
        )
    except ValueError as error:
        raise ConfigError(
            f"precision is {config.precision!r}, which cannot be had: {error}"
        ) from error
    if accelerator.device.type == "cpu":
        _check_on_cpu(config.precision)
    check_distribution(accelerator)
    return accelerator


def train(
    task: Task[BatchT],
    batches: Callable[[int], Iterator[BatchT]],
    config: LoopConfig,
    accelerator: Accelerator,
    samples: int | None = None,
) -> TrainResult:
    """Train to the end, or until SIGTERM or SIGINT, and leave a checkpoint in either case.

    batches(start): this process' share of forward passes start, start + 1, … of the whole run;
    endless, `config.forward_size(accelerator.num_processes)` samples each, and the same at
    whatever number it starts. Step s takes the passes s * accumulate and following. A batch with
    a method `to` is moved to the device by it; tensors in tuples, lists and dicts are too.
    samples: in one epoch, if known.

    Errors of `batches` on one process end all, with a checkpoint, and are raised. ConfigError:
    the folder holds a run and resume is off, or settings changed. CheckpointError: no checkpoint
    can be read, or the last cannot be written. TrainingError: too many bad steps in a row.
    """
    config.forward_size(accelerator.num_processes)
    total = config.total_steps(samples)
    trainer = Trainer(task, config, accelerator, total, samples)
    try:
        signal = trainer.run(batches)
        return TrainResult(trainer.done, total, signal)
    finally:
        trainer.close()


def _check_on_cpu(precision: str) -> None:
    if precision == "fp16":
        # accelerate would leave it at float32, and say nothing.
        raise ConfigError('precision is "fp16", which needs a GPU; on a CPU take "bf16" or "no".')
    if precision == "bf16" and not has_products(torch.bfloat16):
        warnings.warn(
            'This processor has no products in bfloat16: with precision "bf16" a step takes many '
            'times as long as with "no".',
            ConcertoWarning,
            stacklevel=3,
        )
