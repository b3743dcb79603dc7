import math
import sys

import pytest
import torch
from torch import nn

from concerto.encoder import cpu_attention
from concerto.encoder.attention import PatchAttention, cut_patches
from concerto.encoder.cpu_kernel import Shape, compile_kernel
from conftest import relative_l2

SHAPES = {
    "AVX-512": Shape.of("x86_64-unknown-linux-gnu", "+avx2,+avx,+avx512f"),
    "AVX": Shape.of("x86_64-unknown-linux-gnu", "+avx2,+avx,-avx512f"),
    "SSE": Shape.of("x86_64-unknown-linux-gnu", "-avx,+sse2"),
    "NEON": Shape.of("arm64-apple-darwin", "+neon"),
}


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
    given = cpu_attention.attend(query, key, value, heads)
    assert given.shape == query.shape
    assert relative_l2(given, exact(query, key, value, heads)) < 2e-6


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_code_for_any_processor_computes_the_same(
    shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shape, "of", lambda *_: shape)
    compile_kernel.cache_clear()
    try:
        assert compile_kernel(16).shape == shape
        query, key, value = inputs(2, 77, 259, 48)
        given = cpu_attention.attend(query, key, value, 3)
    finally:
        compile_kernel.cache_clear()
    assert relative_l2(given, exact(query, key, value, 3)) < 2e-6


@pytest.mark.parametrize("factor", [1e-6, 1.0, 40.0, 1e3])
@pytest.mark.parametrize("shift", [0.0, -1e3, 1e3])
def test_scores_of_any_size_stay_as_exact_as_float32_is(factor: float, shift: float) -> None:
    query, key, value = inputs(1, 200, 200, 32)
    query *= factor
    query[..., 0], key[..., 0] = 1, shift
    given = cpu_attention.attend(query, key, value, 2)
    scores = factor * 16 + abs(shift)
    assert relative_l2(given, exact(query, key, value, 2)) < 2e-6 + 1e-7 * scores


@pytest.mark.parametrize("factor", [1e6, 1e15, 1e30])
def test_the_largest_score_takes_all_however_large_it_is(factor: float) -> None:
    _, key, value = inputs(1, 200, 200, 16)
    key = nn.functional.normalize(key, dim=2)
    given = cpu_attention.attend(factor * key, key, value, 1)
    assert relative_l2(given, value) < 1e-6


def test_half_precision_goes_in_and_comes_out() -> None:
    query, key, value = (x.bfloat16() for x in inputs(2, 50, 60, 32))
    given = cpu_attention.attend(query, key, value, 2)
    assert given.dtype == torch.bfloat16
    assert relative_l2(given, exact(query, key, value, 2)) < 3e-3


def test_memory_may_lie_in_any_order() -> None:
    query, key, value = inputs(2, 50, 60, 32)
    wanted = cpu_attention.attend(query, key, value, 2)
    mixed = (query.mT.contiguous().mT, key.contiguous(), value.mT.contiguous().mT)
    assert torch.equal(cpu_attention.attend(*mixed, 2), wanted)


def test_a_patch_does_not_depend_on_threads_and_other_patches() -> None:
    query, key, value = inputs(5, 130, 130, 48)
    together = cpu_attention.attend(query, key, value, 3)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = [cpu_attention.attend(query[[i]], key[[i]], value[[i]], 3) for i in range(5)]
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
        wanted = cpu_attention.attend(query, key, value, 3)
        monkeypatch.setattr(cpu_attention, "_openmp_parallel", lambda: None)
        assert torch.equal(cpu_attention.attend(query, key, value, 3), wanted)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="torch of other systems may lack it")
def test_threads_are_those_of_torch() -> None:
    assert cpu_attention._openmp_parallel() is not None


def test_without_llvm_attention_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, x = PatchAttention(32, 2, qkv_bias=True), torch.randn(30, 32)
    patches = cut_patches(torch.arange(30).expand(4, -1), [30], 10)
    monkeypatch.setitem(sys.modules, "concerto.encoder.cpu_kernel", None)
    cpu_attention.serves.cache_clear()
    try:
        assert not cpu_attention.serves(16)
        with torch.no_grad():
            assert relative_l2(added(attention, x, patches), attention(x, patches, 0)) < 1e-6
    finally:
        cpu_attention.serves.cache_clear()


def test_heads_too_wide_for_code_go_the_plain_way() -> None:
    assert not cpu_attention.serves(cpu_attention.WIDEST + 1)


def test_nan_spreads_as_in_the_plain_way() -> None:
    attention = PatchAttention(16, 1, qkv_bias=True)
    x = torch.randn(30, 16)
    x[3] = torch.nan
    patches = cut_patches(torch.arange(30).expand(4, -1), [30], 10)
    with torch.no_grad():
        plain = attention(x, patches, 0)
        fast = added(attention, x, patches)
    assert torch.equal(fast.isnan(), plain.isnan())
    assert fast[10:].isfinite().all()


def added(attention: PatchAttention, x: torch.Tensor, patches: object) -> torch.Tensor:
    """What the way for a CPU adds to x."""
    out = x.clone()
    attention.add_to(out, nn.Identity(), patches, 0, 64, on_cpu=True)  # type: ignore[arg-type]
    return out - x
