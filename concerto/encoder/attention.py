"""Attention within patches: stretches of K consecutive points along a curve, each cloud on its own.

A cloud of at most K points is one patch. A longer one is cut into patches of exactly K; the last
is filled up with the points before it, whose results there are dropped. So all patches of long
clouds have one shape, and scaled_dot_product_attention streams over them without ever holding a
K x K matrix.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.encoder.kernels import find_attention


@dataclass(frozen=True)
class Patches:
    """Where attention reads and writes, for each of the four curves.

    source: (4, r) int64, the point in each row of the patched layout (borrowed ones included).
    target: (4, n) int64, the row in which each point finds its own result.
    shapes: patches and their length, in the order of the rows; each cloud no longer than K is
        alone or with others of its length.
    runs: the same with those patches apart whose last points are borrowed: patches, their
        length, and how many points of each are its own.
    """

    source: Tensor
    target: Tensor
    shapes: tuple[tuple[int, int], ...]
    runs: tuple[tuple[int, int, int], ...]


def cut_patches(orders: Tensor, sizes: list[int], patch_size: int) -> Patches:
    """Cut each cloud into patches along each curve.

    orders: (4, n) int64 rows along each curve, cloud after cloud. sizes: points of each cloud.
    """
    starts = list(accumulate(sizes, initial=0))
    by_length: dict[int, list[int]] = defaultdict(list)
    for cloud, size in enumerate(sizes):
        if size:
            by_length[min(size, patch_size)].append(cloud)
    device = orders.device
    places, owned, shapes, runs = [], [], [], []
    for length, clouds in sorted(by_length.items(), reverse=True):
        patches = 0
        for cloud in clouds:
            size = sizes[cloud]
            count = -(-size // length)
            place = torch.arange(count * length, device=device)
            own = place < size
            # Position j past the end borrows the point at j - K.
            place = torch.where(own, place, place - length)
            places.append(place + starts[cloud])
            owned.append(own)
            patches += count
            full, rest = divmod(size, length)
            runs += [(full, length, length)] + [(1, length, rest)] * (rest > 0)
        shapes.append((patches, length))
    place, own = torch.cat(places), torch.cat(owned)
    source = orders.index_select(1, place)
    target = torch.empty_like(orders)
    rows = own.nonzero().flatten()
    target.scatter_(1, source.index_select(1, rows), rows.expand(len(orders), -1))
    merged = [
        (sum(count for count, *_ in equal), length, own)
        for (length, own), equal in groupby(runs, key=lambda run: run[1:])
    ]
    return Patches(source, target, tuple(shapes), tuple(merged))


class PatchAttention(nn.Module):
    """Multi-head self-attention within each patch: (n, C) → (n, C)."""

    def __init__(self, channels: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, patches: Patches, order: int) -> Tensor:
        """Attend along one of the four curves."""
        rows, parts, start = patches.source[order], [], 0
        for count, length in patches.shapes:
            end = start + count * length
            part = x.index_select(0, rows[start:end]).view(count, length, -1)
            parts.append(self.attend(*self.qkv(part).chunk(3, dim=2)).flatten(0, 1))
            start = end
        whole = torch.cat(parts) if len(parts) > 1 else parts[0]
        out: Tensor = self.proj(whole.index_select(0, patches.target[order]))
        return out

    def add_to(
        self,
        x: Tensor,
        norm: nn.Module,
        patches: Patches,
        order: int,
        slice_rows: int,
        on_cpu: bool,
    ) -> None:
        """x += self(norm(x)) in place, for inference, in slices of about so many rows.

        on_cpu: go the fast way there, if there is one.
        """
        source = patches.source[order]
        end = len(source)
        # The last patch of a cloud borrows points of the one before, so it comes first.
        for count, length, own in reversed(patches.runs):
            step = max(1, slice_rows // length)
            for left in range(count, 0, -step):
                start = end - min(step, left) * length
                rows = source[start:end]
                part = norm(x.index_select(0, rows)).view(-1, length, x.shape[1])
                query, key, value = self.qkv(part).chunk(3, dim=2)
                out = self.proj(self.attend(query[:, :own], key, value, on_cpu)).flatten(0, 1)
                x.index_add_(0, rows if own == length else rows[:own], out)
                end = start

    def attend(self, query: Tensor, key: Tensor, value: Tensor, on_cpu: bool = False) -> Tensor:
        """Queries (P, Q, C) of keys and values (P, K, C) → (P, Q, C). on_cpu: as in `add_to`."""
        # A block may be compiled while the encoder around it is not.
        on_cpu = on_cpu and not torch.compiler.is_compiling()
        attend = find_attention(query.shape[2] // self.heads) if on_cpu else None
        if attend is not None:
            return attend(query, key, value, self.heads)
        query, key, value = (
            x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        out = F.scaled_dot_product_attention(query, key, value)
        return out.transpose(1, 2).flatten(2)
