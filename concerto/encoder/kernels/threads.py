"""Running a compiled function on as many threads as torch uses.

They are torch's own where its OpenMP can be called: others would contend with them, which look out
for more work for some milliseconds after each of torch's operations.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from concerto.encoder.kernels.processor import Code

FLOATS = ctypes.POINTER(ctypes.c_float)
INTEGERS = ctypes.POINTER(ctypes.c_int64)
# Where torch, and the OpenMP that it is linked with, is found.
LIBRARIES = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}


class Job(ctypes.Structure):
    """What to do, and how far it has come.

    scratch: memory for each thread, scratch_size floats.
    """

    _fields_: ClassVar[Sequence[tuple[str, Any]]] = (
        ("next_task", ctypes.c_int64),
        ("next_thread", ctypes.c_int64),
        ("tasks", ctypes.c_int64),
        ("scratch", FLOATS),
        ("scratch_size", ctypes.c_int64),
    )


def run(code: Code, job: Job) -> None:
    """Have the function `void run(Job *)` do all tasks."""
    threads = min(torch.get_num_threads(), job.tasks)
    scratch = torch.empty(threads, job.scratch_size, dtype=torch.float32, device="cpu")
    job.scratch = floats(scratch)
    parallel = _openmp_parallel()
    if parallel is not None:
        parallel(code.address, ctypes.byref(job), threads, 0)
        return
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.address)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: function(ctypes.addressof(job)), range(threads)))


def floats(x: Tensor) -> Any:
    """Where the first of float32 values lies."""
    return ctypes.cast(x.data_ptr(), FLOATS)


def integers(x: Tensor) -> Any:
    """Where the first of int64 values lies."""
    return ctypes.cast(x.data_ptr(), INTEGERS)


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
    return parallel  # type: ignore[no-any-return]
