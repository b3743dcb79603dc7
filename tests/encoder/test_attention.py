import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from concerto.encoder.attention import PatchAttention, cut_patches
from conftest import relative_l2

K = 16


def orders_of(sizes: list[int]) -> torch.Tensor:
    """Four random orders that keep clouds apart."""
    torch.manual_seed(3)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return torch.stack(
        [
            torch.cat([torch.randperm(n) + s for n, s in zip(sizes, starts, strict=True)])
            for _ in range(4)
        ]
    )


def by_definition(
    attention: PatchAttention, x: torch.Tensor, order: torch.Tensor, sizes: list[int]
) -> torch.Tensor:
    """Patch after patch with explicit K x K matrices, as the specification words it."""
    out, start = torch.empty_like(x), 0
    for size in sizes:
        points = order[start : start + size].tolist()
        start += size
        padded = list(points)
        if size > K:
            while len(padded) % K:
                padded.append(padded[len(padded) - K])
        for first in range(0, len(padded), K):
            patch = padded[first : first + K]
            qkv = attention.qkv(x[patch]).view(len(patch), 3, attention.heads, -1)
            q, k, v = qkv.permute(1, 2, 0, 3)
            scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
            y = attention.proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(len(patch), -1))
            for place, point in enumerate(patch):
                if first + place < size:
                    out[point] = y[place]
    return out


@pytest.mark.parametrize(
    "sizes", [[5], [K], [K + 1], [3 * K], [3 * K - 1], [40, 3, 0, K, 3, 2 * K + 5, 1]]
)
def test_equals_the_definition_for_clouds_of_any_size(sizes: list[int]) -> None:
    attention = PatchAttention(12, 3, qkv_bias=True).double()
    x = torch.randn(sum(sizes), 12, dtype=torch.double)
    orders = orders_of(sizes)
    patches = cut_patches(orders, sizes, K)
    for curve in range(4):
        ours = attention(x, patches, curve)
        assert relative_l2(ours, by_definition(attention, x, orders[curve], sizes)) < 1e-13


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("slice_rows", [1, K, 3 * K + 1, 10_000])
@torch.no_grad()
def test_adding_in_place_in_slices_gives_the_same(slice_rows: int, fast: bool) -> None:
    sizes = [100, 3, 3, 0, 37]
    attention, norm = PatchAttention(8, 2, qkv_bias=False), torch.nn.LayerNorm(8)
    x = torch.randn(sum(sizes), 8)
    patches = cut_patches(orders_of(sizes), sizes, K)
    for curve in range(4):
        wanted = x + attention(norm(x), patches, curve)
        given = x.clone()
        attention.add_to(given, norm, patches, curve, slice_rows, fast)
        assert relative_l2(given, wanted) < 1e-6


class Largest(TorchDispatchMode):
    """Notes the most elements that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("grad", [False, True])
def test_no_matrix_of_patch_by_patch_is_ever_made(grad: bool) -> None:
    patch, points, channels = 1024, 2048, 32
    attention = PatchAttention(channels, 2, qkv_bias=True)
    patches = cut_patches(orders_of([points]), [points], patch)
    x = torch.randn(points, channels, requires_grad=grad)
    with torch.set_grad_enabled(grad), Largest() as largest:
        out = attention(x, patches, 0)
        if grad:
            out.sum().backward()
    assert largest.elements <= points * 3 * channels < patch * patch
