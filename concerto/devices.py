"""Where models run and their weights go, and in which precision."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from concerto.errors import CheckpointError, ConfigError, InputError

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def chosen_device(device: str) -> str:
    """What auto means: each process of `accelerate launch` or `torchrun` has a CUDA device of its
    own."""
    if device != "auto":
        return device
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{launcher_number('LOCAL_RANK', 0) % torch.cuda.device_count()}"


def launcher_number(variable: str, default: int) -> int:
    """What accelerate and torchrun tell each of their processes. Raises InputError for no such."""
    given = os.environ.get(variable, str(default))
    if not given.isdecimal():
        raise InputError(
            f"The environment variable {variable} is {given!r}; it must be a number, as accelerate "
            "and torchrun set it. Unset it."
        )
    return int(given)


def usable_device(device: torch.device | str | None) -> torch.device:
    """The device, or ConfigError where this machine or this torch has no such thing."""
    try:
        found = torch.device("cpu" if device is None else device)
        torch.empty(0, device=found)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f'device is {device!r}; it must be a text such as "cpu" or "cuda:0", or a torch.device.'
        ) from error
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(
            f"device is {str(device)!r}, which cannot be used here: {reason}"
        ) from error
    return found


def kept_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """The dtype meant, None standing for the file's own."""
    if dtype is None:
        return torch.float32
    if dtype == "auto":
        return None
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in DTYPES:
        raise ConfigError(f'dtype is {dtype!r}; it must be one of {_names()}, or "auto".')
    return found


def in_dtype(
    tensors: Mapping[str, Tensor], dtype: torch.dtype | None, file: Path
) -> dict[str, Tensor]:
    """The tensors of a file in a dtype, None standing for their own.

    Raises CheckpointError where that is one that no model computes in, such as float8.
    """
    if dtype is not None:
        return {name: tensor.to(dtype) for name, tensor in tensors.items()}
    odd = {
        str(tensor.dtype): name for name, tensor in tensors.items() if tensor.dtype not in DTYPES
    }
    if odd:
        kinds = ", ".join(f"{kind} (as {name})" for kind, name in odd.items())
        raise CheckpointError(
            f"{file} holds weights in {kinds}, which models do not compute in. Pass another dtype "
            f'than "auto": one of {_names()}.'
        )
    return dict(tensors)


def _names() -> str:
    return ", ".join(str(known).removeprefix("torch.") for known in DTYPES)
