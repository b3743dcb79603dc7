import math
import sys

import pytest
import torch
from processors import cut_for, every_processor
from torch import nn

from concerto.encoder import kernels
from concerto.encoder.attention import PatchAttention, Patches, cut_patches
from concerto.encoder.kernels import attention, threads
from concerto.encoder.kernels import processor as processor_module
from concerto.encoder.kernels.attention import attend
from concerto.encoder.kernels.processor import Processor
from conftest import relative_l2


def exact(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Softmax attention in float64, as the formula says."""
    query, key, value = (
        x.double().unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key, value)
    )
    weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(query.shape[3]), dim=-1)
    return (weights @ value).transpose(1, 2).flatten(2)


def inputs(
    patches: int, queries: int, keys: int, channels: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values as one layer gives them."""
    torch.manual_seed(0)
    query, key, value = torch.randn(patches, keys, 3 * channels).chunk(3, dim=2)
    return query[:, :queries], key, value


@pytest.mark.parametrize(
    ("patches", "queries", "keys", "heads", "width"),
    [
        (1, 1, 1, 1, 16),
        (2, 7, 7, 3, 16),
        (3, 300, 300, 5, 8),
        (1, 1100, 1100, 13, 4),
        (1, 1999, 2000, 2, 16),
        (2, 33, 129, 2, 17),
        (1, 5, 127, 2, 1),
        (1, 20, 500, 1, 128),
    ],
)
def test_it_is_softmax_attention(
    patches: int, queries: int, keys: int, heads: int, width: int
) -> None:
    query, key, value = inputs(patches, queries, keys, heads * width)
    given = attend(query, key, value, heads)
    assert given.shape == query.shape
    assert relative_l2(given, exact(query, key, value, heads)) < 2e-6


@every_processor
def test_code_for_any_processor_computes_the_same(
    processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_for(processor, attention, monkeypatch)
    query, key, value = inputs(2, 77, 259, 48)
    assert relative_l2(attend(query, key, value, 3), exact(query, key, value, 3)) < 2e-6


@pytest.mark.parametrize("factor", [1e-6, 1.0, 40.0, 1e3])
@pytest.mark.parametrize("shift", [0.0, -1e3, 1e3])
def test_scores_of_any_size_stay_as_exact_as_float32_is(factor: float, shift: float) -> None:
    query, key, value = inputs(1, 200, 200, 32)
    query *= factor
    query[..., 0], key[..., 0] = 1, shift
    given = attend(query, key, value, 2)
    scores = factor * 16 + abs(shift)
    assert relative_l2(given, exact(query, key, value, 2)) < 2e-6 + 1e-7 * scores


@pytest.mark.parametrize("factor", [1e6, 1e15, 1e30])
def test_the_largest_score_takes_all_however_large_it_is(factor: float) -> None:
    _, key, value = inputs(1, 200, 200, 16)
    key = nn.functional.normalize(key, dim=2)
    given = attend(factor * key, key, value, 1)
    assert relative_l2(given, value) < 1e-6


def test_half_precision_goes_in_and_comes_out() -> None:
    query, key, value = (x.bfloat16() for x in inputs(2, 50, 60, 32))
    given = attend(query, key, value, 2)
    assert given.dtype == torch.bfloat16
    assert relative_l2(given, exact(query, key, value, 2)) < 3e-3


def test_memory_may_lie_in_any_order() -> None:
    query, key, value = inputs(2, 50, 60, 32)
    wanted = attend(query, key, value, 2)
    mixed = (query.mT.contiguous().mT, key.contiguous(), value.mT.contiguous().mT)
    assert torch.equal(attend(*mixed, 2), wanted)


def test_a_patch_does_not_depend_on_threads_and_other_patches() -> None:
    query, key, value = inputs(5, 130, 130, 48)
    together = attend(query, key, value, 3)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = [attend(query[[i]], key[[i]], value[[i]], 3) for i in range(5)]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(together, torch.cat(alone))


def test_own_threads_serve_where_those_of_torch_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query, key, value = inputs(5, 130, 130, 48)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        wanted = attend(query, key, value, 3)
        monkeypatch.setattr(threads, "_openmp_parallel", lambda: None)
        assert torch.equal(attend(query, key, value, 3), wanted)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="torch of other systems may lack it")
def test_threads_are_those_of_torch() -> None:
    assert threads._openmp_parallel() is not None


def test_without_llvm_attention_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = PatchAttention(32, 2, qkv_bias=True), torch.randn(30, 32)
    patches = cut_patches(torch.arange(30).expand(4, -1), [30], 10)
    monkeypatch.setitem(sys.modules, "concerto.encoder.kernels.processor", None)
    kernels._has_llvm.cache_clear()
    try:
        assert kernels.find_attention(16) is None
        with torch.no_grad():
            assert relative_l2(added(layer, x, patches), layer(x, patches, 0)) < 1e-6
    finally:
        kernels._has_llvm.cache_clear()


def test_where_llvm_makes_no_code_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> None:
        raise RuntimeError("No available targets are compatible with triple")

    monkeypatch.setattr(processor_module.binding.Target, "from_default_triple", unknown)
    caches = kernels._has_llvm, processor_module.this_processor
    for cache in caches:
        cache.cache_clear()
    try:
        assert kernels.find_attention(16) is None
        assert kernels.find_convolution(16) is None
    finally:
        for cache in caches:
            cache.cache_clear()


def test_heads_too_wide_for_code_go_the_plain_way() -> None:
    assert kernels.find_attention(kernels.WIDEST_HEAD) is attend
    assert kernels.find_attention(kernels.WIDEST_HEAD + 1) is None


def test_nan_spreads_as_in_the_plain_way() -> None:
    layer = PatchAttention(16, 1, qkv_bias=True)
    x = torch.randn(30, 16)
    x[3] = torch.nan
    patches = cut_patches(torch.arange(30).expand(4, -1), [30], 10)
    with torch.no_grad():
        plain = layer(x, patches, 0)
        fast = added(layer, x, patches)
    assert torch.equal(fast.isnan(), plain.isnan())
    assert fast[10:].isfinite().all()


def added(layer: PatchAttention, x: torch.Tensor, patches: Patches) -> torch.Tensor:
    """What the way for a CPU adds to x."""
    out = x.clone()
    layer.add_to(out, nn.Identity(), patches, 0, 64, on_cpu=True)
    return out - x
