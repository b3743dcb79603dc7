"""Softmax attention on a CPU, by the code of `attention_code`."""

from __future__ import annotations

import math
from functools import lru_cache

from torch import Tensor

from concerto.encoder.kernels.attention_code import AttentionJob, attention_code, scratch_size
from concerto.encoder.kernels.processor import Code, compile_function, this_processor
from concerto.encoder.kernels.threads import floats, run


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(q kᵀ / sqrt(D)) v of each patch and head.

    query: (P, Q, C), key and value: (P, K, C), C being head after head. Returns (P, Q, C) of
    their dtype; computes in float32.
    """
    patches, queries, channels = query.shape
    keys, width = key.shape[1], channels // heads
    q, k, v = (_in_rows(x) for x in (query, key, value))
    if k.stride() != v.stride():
        k, v = k.contiguous(), v.contiguous()
    out = q.new_empty(query.shape)
    job = AttentionJob(
        tasks=patches * heads,
        scratch_size=scratch_size(keys, width, this_processor()),
        heads=heads,
        queries=queries,
        keys=keys,
        query_patch=q.stride(0),
        query_row=q.stride(1),
        key_patch=k.stride(0),
        key_row=k.stride(1),
        out_patch=out.stride(0),
        out_row=out.stride(1),
        scale=math.log2(math.e) / math.sqrt(width),
        query=floats(q),
        key=floats(k),
        value=floats(v),
        out=floats(out),
    )
    if out.numel():
        run(_compiled(width), job)
    return out.to(query.dtype)


def _in_rows(x: Tensor) -> Tensor:
    """In float32, each row in one piece."""
    x = x.detach().float()
    return x if x.stride(2) == 1 else x.contiguous()


@lru_cache
def _compiled(width: int) -> Code:
    return compile_function(attention_code(width, this_processor()))
