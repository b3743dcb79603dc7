"""Softmax attention on a CPU, by code made for it (see `cpu_kernel`), on as many threads as torch.

Threads are torch's own where its OpenMP can be called: others would contend with them, which look
out for more work for some milliseconds after each of torch's operations.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from concerto.encoder.cpu_kernel import Job

# The code grows with the width of heads; those of all published encoders are 16 wide.
WIDEST = 128
# Where torch, and the OpenMP that it is linked with, is found.
LIBRARIES = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}


@lru_cache
def serves(width: int) -> bool:
    """Whether there is code for heads of this width: LLVM may be absent, or not allowed to run."""
    if width > WIDEST:
        return False
    try:
        from concerto.encoder.cpu_kernel import compile_kernel

        compile_kernel(width)
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(q kᵀ / sqrt(D)) v of each patch and head.

    query: (P, Q, C), key and value: (P, K, C), C being head after head. Returns (P, Q, C) of
    their dtype; computes in float32.
    """
    from concerto.encoder.cpu_kernel import Job, compile_kernel

    patches, count, channels = query.shape
    kernel = compile_kernel(channels // heads)
    rows, keys, values = (_rows(x) for x in (query, key, value))
    values = values if values.stride() == keys.stride() else values.contiguous()
    keys = keys if values.stride() == keys.stride() else keys.contiguous()
    out = rows.new_empty(query.shape)
    job = Job(
        tasks=patches * heads,
        heads=heads,
        queries=count,
        keys=keys.shape[1],
        query_patch=rows.stride(0),
        query_row=rows.stride(1),
        key_patch=keys.stride(0),
        key_row=keys.stride(1),
        out_patch=out.stride(0),
        out_row=out.stride(1),
        scratch_size=kernel.scratch(keys.shape[1]),
        scale=math.log2(math.e) / math.sqrt(kernel.width),
        query=rows.data_ptr(),
        key=keys.data_ptr(),
        value=values.data_ptr(),
        out=out.data_ptr(),
    )
    threads = min(torch.get_num_threads(), job.tasks)
    scratch = out.new_empty(threads, job.scratch_size)
    job.scratch = scratch.data_ptr()
    if out.numel():
        _run(kernel.run, job, threads)
    return out.to(query.dtype)


def _rows(x: Tensor) -> Tensor:
    """In float32, each row in one piece."""
    x = x.detach().float()
    return x if x.stride(2) == 1 else x.contiguous()


def _run(kernel: int, job: Job, threads: int) -> None:
    parallel = _openmp_parallel()
    if parallel is not None:
        parallel(kernel, ctypes.byref(job), threads, 0)
        return
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: run(ctypes.addressof(job)), range(threads)))


@lru_cache(maxsize=1)
def _openmp_parallel() -> Callable[..., Any] | None:
    """GOMP_parallel(function, data, threads, flags) of torch's OpenMP; None where it has none."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / LIBRARIES[sys.platform]))
        parallel = library.GOMP_parallel
    except (KeyError, OSError, AttributeError):
        return None
    parallel.restype = None
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return parallel
