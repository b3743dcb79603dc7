"""Where weights go, and in which precision."""

from __future__ import annotations

import torch

from concerto.errors import ConfigError

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def usable_device(device: torch.device | str | None) -> torch.device:
    """The device, or ConfigError where this machine or this torch has no such thing."""
    try:
        found = torch.device("cpu" if device is None else device)
        torch.empty(0, device=found)
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
        names = ", ".join(str(known).removeprefix("torch.") for known in DTYPES)
        raise ConfigError(f'dtype is {dtype!r}; it must be one of {names}, or "auto".')
    return found
