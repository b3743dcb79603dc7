"""Sums over the processes of a run, so that how many there are does not change a result."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes train together; 1 where there is no process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_sum(tensor: Tensor) -> Tensor:
    """The sum over all processes, without gradient; the tensor itself where there is one."""
    return _reduce(tensor, dist.ReduceOp.SUM) if world_size() > 1 else tensor.detach()


def all_max(tensor: Tensor) -> Tensor:
    """The largest value over all processes, without gradient."""
    return _reduce(tensor, dist.ReduceOp.MAX) if world_size() > 1 else tensor.detach()


def _reduce(tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    out = tensor.detach().clone()
    dist.all_reduce(out, operation)
    return out
