import math

import pytest
import torch
from torch import nn

from concerto.encoder import cpu_attention
from concerto.encoder.attention import PatchAttention, Patches, cut_patches
from conftest import relative_l2


def exact(x: torch.Tensor, qkv: nn.Linear, heads: int) -> torch.Tensor:
    """Softmax attention of each patch in float64, as the formula says."""
    weight, bias = qkv.weight.double(), None if qkv.bias is None else qkv.bias.double()
    parts = nn.functional.linear(x.double(), weight, bias).unflatten(2, (3, heads, -1))
    query, key, value = parts.permute(2, 0, 3, 1, 4)
    weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]), dim=-1)
    return (weights @ value).transpose(1, 2).flatten(2)


def added(attention: PatchAttention, x: torch.Tensor, patches: Patches) -> torch.Tensor:
    """What the fast way adds to x."""
    out = x.clone()
    attention.add_to(out, nn.Identity(), patches, 0, 64, cpu_attention.new_scratch())
    return out - x


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("patches", "length", "heads", "width"),
    [(1, 1, 1, 16), (2, 7, 3, 16), (3, 300, 5, 8), (1, 1100, 13, 4), (1, 2000, 2, 16)],
)
def test_it_is_softmax_attention(
    patches: int, length: int, heads: int, width: int, bias: bool
) -> None:
    torch.manual_seed(0)
    channels = heads * width
    qkv = nn.Linear(channels, 3 * channels, bias=bias)
    x = torch.randn(patches, length, channels)
    with torch.no_grad():
        merged = cpu_attention.merge_qkv(qkv, heads)
        for queries in {length, length // 2 + 1}:
            given = cpu_attention.attend(x, *merged, heads, cpu_attention.new_scratch(), queries)
            assert given is not None
            assert given.shape == (patches, queries, channels)
            assert relative_l2(given, exact(x, qkv, heads)[:, :queries]) < 2e-6


@pytest.mark.parametrize("factor", [1.0, 10.0, 40.0, 1000.0])
def test_scores_of_any_size_stay_exact(factor: float) -> None:
    torch.manual_seed(0)
    attention = PatchAttention(32, 2, qkv_bias=True)
    x = torch.randn(200, 32)
    with torch.no_grad():
        attention.qkv.weight[:64] *= factor
        patches = cut_patches(torch.arange(200).expand(4, -1), [200], 64)
        plain = attention(x, patches, 0)
        fast = added(attention, x, patches)
    assert fast.isfinite().all()
    assert relative_l2(fast, plain) < 1e-4


def test_scores_too_large_for_bare_powers_are_declined() -> None:
    torch.manual_seed(0)
    qkv = nn.Linear(16, 48)
    x = torch.randn(1, 50, 16)
    with torch.no_grad():
        qkv.weight[:32] *= 100
        merged = cpu_attention.merge_qkv(qkv, 1)
        assert cpu_attention.attend(x, *merged, 1, cpu_attention.new_scratch(), 50) is None


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
