"""What the encoder does on a CPU to be fast there: when, and by which matrix products.

`kernels` holds the layers that have code of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

# Since torch 2.9 the precision of products can be set for oneDNN alone; before, for all devices.
ONEDNN: Any = getattr(torch.backends.mkldnn, "matmul", None)
EXACT = ("highest",) if ONEDNN is None else ("none", "ieee")
ALLOW_BFLOAT16 = "medium" if ONEDNN is None else "bf16"
# Features in a slice of rows: enough for the cores, little enough for the caches.
SLICE_VALUES = 3 * 2**18
# Relative error of a float32 product, with room; bfloat16's would be 3e-3.
FLOAT32_ERROR = 1e-5

M = TypeVar("M", bound=nn.Module)


def infers(x: Tensor) -> bool:
    """Whether no gradient passes, and each layer computes in the dtype of x."""
    return not (
        torch.is_grad_enabled()
        or torch.is_autocast_enabled(x.device.type)
        or torch.compiler.is_compiling()
    )


def infers_on_cpu(x: Tensor) -> bool:
    """Whether the ways for inference on a CPU may be gone with x."""
    return x.device.type == "cpu" and x.dtype != torch.float64 and infers(x)


def rows_at_a_time(x: Tensor, slice_rows: int | None) -> int:
    """How many rows of x (n, C): at most those asked for, and on a CPU those that caches hold."""
    rows = len(x) if slice_rows is None else slice_rows
    return min(rows, SLICE_VALUES // x.shape[1]) if x.device.type == "cpu" else rows


@lru_cache
def has_products(dtype: torch.dtype) -> bool:
    """Whether oneDNN has products in bfloat16 or float16 for this processor."""
    name = "bf16" if dtype == torch.bfloat16 else "fp16"
    known = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", None)
    return known is not None and bool(known())


def product_dtype(weight: Tensor) -> torch.dtype:
    """What to multiply a weight in: its own dtype, or float32 where that is far faster.

    Products in bfloat16 need AVX-512 or newer vectors, those in float16 newer ones still. Without
    them torch multiplies number by number, at a fiftieth of float32's rate.
    """
    on_cpu = weight.device.type == "cpu" and not torch.compiler.is_compiling()
    slow = on_cpu and weight.dtype.itemsize == 2 and not has_products(weight.dtype)
    return torch.float32 if slow else weight.dtype


def at_full_speed(module: M) -> M:
    """The module, or one that shares all but its tensors, which are of `product_dtype`.

    Such a copy is for one call. Hooks of the module see it, and gradients reach its parameters.
    """
    weight = next(chain(module.parameters(), module.buffers()))
    dtype = product_dtype(weight)
    return module if dtype == weight.dtype else _converted(module, dtype)


def _converted(module: M, dtype: torch.dtype) -> M:
    # Not swapped in place, as functional_call does: other threads may be in the same module.
    module, tensors = copy.copy(module), vars(module)
    for kind in ("_parameters", "_buffers"):
        vars(module)[kind] = {
            name: t if t is None else t.to(dtype) for name, t in tensors[kind].items()
        }
    children = module._modules.items()
    vars(module)["_modules"] = {
        name: c if c is None else _converted(c, dtype) for name, c in children
    }
    return module


def products_for(x: Tensor) -> AbstractContextManager[None]:
    """`fast_products` where the ways for inference on a CPU may be gone with x."""
    return fast_products() if infers_on_cpu(x) else nullcontext()


@contextmanager
def fast_products() -> Iterator[None]:
    """Within, float32 products on a CPU go the faster of torch's two ways, where that is exact.

    By default torch gives them to MKL, which on some processors runs at half of oneDNN's rate.
    Where bfloat16 is allowed inside of products, it gives them to oneDNN, which makes use of that
    where the processor has hardware tiles for it, and else stays in float32. So it is allowed only
    where products have been seen to come out in true float32. The setting is the process's: threads
    that multiply elsewhere meanwhile go the same way, and must not change it.
    """
    with _guard:
        if _within.threads == 0:
            _within.before = _allow_bfloat16()
        _within.threads += 1
    try:
        yield
    finally:
        with _guard:
            _within.threads -= 1
            if _within.threads == 0 and _within.before is not None:
                _set_precision(_within.before)


@dataclass
class _Within:
    """How many threads are within `fast_products`, and the precision that the last to leave puts
    back, if another was set."""

    threads: int = 0
    before: str | None = None


_within, _guard = _Within(), Lock()


def _allow_bfloat16() -> str | None:
    """The precision before, None where it stays."""
    before = _get_precision()
    # Whoever chose a lower precision keeps it.
    if before not in EXACT or not _bfloat16_is_unused():
        return None
    _set_precision(ALLOW_BFLOAT16)
    return before


def _get_precision() -> str:
    return torch.get_float32_matmul_precision() if ONEDNN is None else ONEDNN.fp32_precision


def _set_precision(precision: str) -> None:
    if ONEDNN is None:
        torch.set_float32_matmul_precision(precision)
    else:
        ONEDNN.fp32_precision = precision


@lru_cache(maxsize=1)
def _bfloat16_is_unused() -> bool:
    """Multiply once where it is allowed, in the shape of a linear layer."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.randn(*shape, generator=generator, dtype=torch.float32, device="cpu")
        for shape in ((512, 96), (96, 288))
    )
    exact = a.double() @ b.double()
    before = _get_precision()
    _set_precision(ALLOW_BFLOAT16)
    try:
        product = a @ b
    finally:
        _set_precision(before)
    return bool((product - exact).norm() <= FLOAT32_ERROR * exact.norm())
