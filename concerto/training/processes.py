"""What the processes of a run decide together, so that none waits for one that has left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor

from concerto.errors import ConcertoError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


def on_main(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """What the main process' work returns, on every process; a ConcertoError rises on every one."""
    from accelerate.utils import broadcast_object_list

    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = work()
        except ConcertoError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return cast(T, outcome[0])


def mean_over(accelerator: Accelerator, values: Sequence[Tensor | float]) -> list[float]:
    """The means of scalars over the processes: one exchange, and one wait for the device."""
    device = accelerator.device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    scalars = [torch.as_tensor(v, dtype=dtype, device=device).detach() for v in values]
    means: list[float] = accelerator.reduce(torch.stack(scalars), "mean").tolist()
    return means


def gather_lists(accelerator: Accelerator, own: list[T]) -> list[T]:
    """The lists of all processes, one after another."""
    from accelerate.utils import gather_object

    return cast(list[T], gather_object(own))
