"""What the encoder does on a CPU to be fast there: when, and by which matrix products.

`cpu_attention` and `cpu_conv` hold the two layers that have a way of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

# The largest block that glibc ever serves from memory it keeps, less its own few bytes.
KEPT_BYTES = 2**25 - 2**14
# Relative error of a float32 product, with room; bfloat16's would be 3e-3.
FLOAT32_ERROR = 1e-5


def infers_on_cpu(x: Tensor) -> bool:
    """Whether the ways for inference on a CPU, which no gradient can pass, may be gone with x."""
    return (
        x.device.type == "cpu"
        and x.dtype != torch.float64
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


@contextmanager
def fast_products() -> Iterator[None]:
    """Within, float32 products on a CPU go the faster of torch's two ways, where that is exact.

    By default torch gives them to MKL, which on some processors runs at half of oneDNN's rate.
    Precision "medium" gives them to oneDNN, which may then compute in bfloat16, and does so where
    the processor has hardware tiles for it. So it is chosen only where products have been seen to
    come out in true float32. For CPUs only: it would change what a GPU computes in.
    """
    _let_memory_stay()
    before = torch.get_float32_matmul_precision()
    # Whoever chose another precision keeps it.
    if before != "highest" or not _medium_is_exact():
        yield
        return
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@lru_cache(maxsize=1)
def _medium_is_exact() -> bool:
    """Multiply once at precision "medium", in the shapes of a linear layer and of attention."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    shapes = [
        ((512, 96), (96, 288)),
        ((4, 1024, 16), (4, 16, 256)),
        ((4, 17, 1024), (4, 1024, 256)),
    ]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        for left, right in shapes:
            a = torch.randn(left, generator=generator)
            b = torch.randn(right, generator=generator)
            exact = a.double() @ b.double()
            if (a @ b - exact).norm() > FLOAT32_ERROR * exact.norm():
                return False
    finally:
        torch.set_float32_matmul_precision(before)
    return True


@lru_cache(maxsize=1)
def _let_memory_stay() -> None:
    """Free one large block, after which glibc keeps blocks up to its size rather than return them.

    By default it hands a layer's buffers back to the system, and the next layer's come page by
    page, cleared: a fifth of the time of attention (mallopt(3), M_MMAP_THRESHOLD, "dynamic").
    """
    torch.empty(KEPT_BYTES, dtype=torch.uint8)
