"""All that training changes → named tensors and plain values, and back.

Parameters and the optimiser's averages go by the parameter's name and are whole, however many
processes they are sharded over: a run goes on with any number of them, and one file serves all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from concerto.errors import CheckpointError


def gather_module(module: nn.Module, keep: bool) -> dict[str, Tensor]:
    """The module's tensors on the CPU. Every process must call it; it is empty without `keep`."""
    tensors = {name: _kept(tensor, keep) for name, tensor in module.state_dict().items()}
    return tensors if keep else {}


def gather_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, keep: bool
) -> dict[str, dict[str, Any]]:
    """The optimiser's state of each parameter by name, as `gather_module` gives the module's."""
    gathered = {
        name: {
            key: _kept(value, keep) if isinstance(value, Tensor) else value
            for key, value in optimizer.state[parameter].items()
        }
        for name, parameter in module.named_parameters()
        if parameter in optimizer.state
    }
    return gathered if keep else {}


def restore_module(module: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Put the tensors back. Raises CheckpointError where names or shapes are others."""
    present = module.state_dict()
    try:
        ours = {
            name: placed(tensor, present[name]) if name in present else tensor
            for name, tensor in tensors.items()
        }
        module.load_state_dict(ours)
    except RuntimeError as error:
        raise CheckpointError(f"{source} is of another model. {error}") from error


def restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, state: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put the optimiser's state back; what it has none of starts as in a new run."""
    optimizer.state.clear()
    for name, parameter in module.named_parameters():
        if name in state:
            optimizer.state[parameter] = {
                # Averages lie as their parameter does; torch counts steps on the CPU.
                key: value.clone() if key == "step" else placed(value, parameter)
                for key, value in state[name].items()
            }


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from its shards, on every process; others as they are."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A copy on the device of `like`, and sharded as that is."""
    if tensor.shape != like.shape:
        return tensor
    own = tensor.to(device=like.device, dtype=like.dtype, copy=True)
    if not hasattr(like, "full_tensor"):
        return own
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(own, like.device_mesh, like.placements)


def _kept(tensor: Tensor, keep: bool) -> Tensor:
    full = whole(tensor).detach()
    return full.cpu() if keep else full.new_empty(0)
