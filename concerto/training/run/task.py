"""What a trainer hands to the loop: a module, its optimisation, and one forward pass.

The loop knows no objective. A trainer is a `Task` and a function of batches; devices, processes,
precision, accumulation, checkpoints, logs and safety are the loop's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor, nn

BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that the optimiser treats alike.

    lr: the base learning rate, which the schedule's factor multiplies. decay: a factor on the
    schedule's weight decay, 0 for parameters without any. muon: matrices, or what `flatten(1)`
    makes matrices of, to be stepped by Muon; all else is by AdamW.
    """

    parameters: Sequence[nn.Parameter]
    lr: float
    decay: float = 1.0
    muon: bool = False


@dataclass(frozen=True)
class Rates:
    """What the optimiser does in one step. lr_factor: multiplies each group's base rate."""

    lr_factor: float = 1.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class StepOutput:
    """What one forward pass gives.

    loss: scalar to differentiate. Over several processes gradients are averaged, and over the
    forward passes of one step too, so the mean over both must be the loss that is meant.
    values: scalars to log beside it, of the same names in every pass and on every process; logged
    is their mean over both.
    """

    loss: Tensor
    values: Mapping[str, Tensor | float] = field(default_factory=dict)


class Task(ABC, Generic[BatchT]):
    """A thing to train. `step` counts optimiser steps from 0, `total` is how many there will be.

    Every method but `forward` has a default that does for a plain supervised model. All are called
    on every process alike.
    """

    module: nn.Module
    """What is trained and saved, frozen parts and averages included; the loop moves it to the
    device, and wraps it for several processes. It stays this object, but sharding replaces its
    parameters: look them up in it when they are needed."""

    @abstractmethod
    def forward(self, module: nn.Module, batch: BatchT, step: int, total: int) -> StepOutput:
        """One forward pass on this process' batch, which lies on the device.

        module: `self.module` as wrapped for several processes and precisions. It must be called
        exactly once, through its own `forward`; what needs no gradient may be computed around it.
        Draws from torch's global generator depend on the seed, step and process alone.
        """

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """What is trained, read once before the first step."""

    def rates(self, step: int, total: int) -> Rates:
        """The schedules' values of a step."""
        return Rates()

    def after_step(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Called after every optimiser step that was taken: averages of weights, monitors.

        values: what is logged of this step, over all processes, with "loss" and "grad_norm".
        A step that is skipped for a loss or gradient that is not finite is not told.
        """

    def pictures(self, step: int) -> dict[str, np.ndarray]:
        """Pictures (H, W, 3) uint8 by name, asked for every `LoopConfig.picture_every` steps.

        step: how many are done. The main process' are kept; the others may return nothing, but
        where the module is sharded (FSDP) all must run it.
        """
        return {}

    def names(self, batch: BatchT) -> Sequence[str]:
        """What to call the samples of a batch in a message about them."""
        return tuple(getattr(batch, "names", ()))

    def settings(self) -> dict[str, Any]:
        """All that makes the run what it is, as JSON holds it: objective, data, schedules.

        Kept in the run's folder and in each checkpoint; resuming with others is refused.
        """
        return {}

    def extra_state(self) -> dict[str, Any]:
        """State beside the module's, of tensors and plain values, the same on every process."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `extra_state` gave."""
