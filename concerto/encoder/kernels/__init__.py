"""Code for CPUs, made by LLVM for the processor at hand when it is first needed.

It serves inference in float32. Where there is no LLVM, or none that knows the processor, there is
no such code, and torch's operations do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from torch import Tensor

# Code for attention grows with the width of heads; those of all published encoders are 16 wide.
WIDEST_HEAD = 128


def find_attention(width: int) -> Callable[[Tensor, Tensor, Tensor, int], Tensor] | None:
    """`attention.attend` for heads of this width, or None."""
    if width > WIDEST_HEAD or not _has_llvm():
        return None
    from concerto.encoder.kernels.attention import attend

    return attend


def find_convolution(channels: int) -> Callable[..., None] | None:
    """`convolution.add_neighbors` for so many channels of results, or None."""
    if not _has_llvm():
        return None
    from concerto.encoder.kernels.convolution import add_neighbors, serves

    return add_neighbors if serves(channels) else None


@lru_cache(maxsize=1)
def _has_llvm() -> bool:
    try:
        from concerto.encoder.kernels.processor import this_processor

        this_processor()
    except (ImportError, OSError, RuntimeError):
        return False
    return True
