"""What the processes of a run decide together, so that none waits for one that has left."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from concerto.errors import ConcertoError, ConcertoWarning, ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

T = TypeVar("T")


def check_distribution(accelerator: Accelerator) -> None:
    """Raise ConfigError where accelerate is set up for what training cannot do; warn where it
    does something else than it was asked."""
    kind = accelerator.distributed_type.value
    if kind in ("DEEPSPEED", "MEGATRON_LM", "XLA"):
        raise ConfigError(
            f"accelerate is set up for {kind}. Choose DDP, or FSDP with fsdp_version: 2, by "
            "`accelerate config`."
        )
    if kind == "FSDP" and not getattr(accelerator, "is_fsdp2", False):
        raise ConfigError(
            "Averages of weights cannot be kept where FSDP flattens them. Put fsdp_version: 2 into "
            "accelerate's configuration."
        )
    if kind != "FSDP" and _is_on("ACCELERATE_USE_FSDP"):
        warnings.warn(
            "accelerate shards on GPUs alone; here every process holds the whole module.",
            ConcertoWarning,
            stacklevel=3,
        )
    # Told of several processes on CPUs, `accelerate launch` starts one, and says nothing.
    if _is_on("ACCELERATE_USE_CPU") and "MASTER_ADDR" in os.environ and kind == "NO":
        warnings.warn(
            "This is a single process: on CPUs `accelerate launch` needs MPI to start several. "
            "Without MPI use ACCELERATE_USE_CPU=true torchrun --nproc-per-node 2 -m …",
            ConcertoWarning,
            stacklevel=3,
        )


def spread(
    accelerator: Accelerator, module: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, AcceleratedOptimizer]:
    """Module and optimiser as accelerate has the processes share them, the module under autocast.

    accelerate leaves mixed precision of sharded parameters to FSDP, which would round coordinates
    too, and hands out the main process' weights in a way that fails on buffers. Here they are cast
    as in copies, and every process has made the same weights.
    """
    sharded = getattr(accelerator, "is_fsdp2", False)
    if sharded:
        plugin = accelerator.state.fsdp_plugin
        plugin.mixed_precision_policy, plugin.cpu_ram_efficient_loading = None, False
    module, optimizer = accelerator.prepare(module, optimizer)
    if sharded and accelerator.native_amp:
        from accelerate.utils import convert_outputs_to_fp32

        # By this name accelerate finds what to put back in the end.
        module._original_forward = module.forward  # type: ignore[assignment]
        module.forward = convert_outputs_to_fp32(accelerator.autocast()(module.forward))
    return module, cast("AcceleratedOptimizer", optimizer)


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


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes")
