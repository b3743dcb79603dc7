"""Texts that mean different things, and have the same vector: a tower that cannot tell them apart.

A tokenizer without capitals reads "Chair" as "chair"; one that knows no Chinese reads every word of
it as its token for the unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# A text's vector changes in its last digits with the texts that are encoded beside it.
SAME = 1 - 1e-5
SLICE_ROWS = 1024


def same_vectors(vectors: Tensor, meanings: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of rows, (earlier, later): for each row, the first that it is the same as, if any.

    vectors: (T, D) unit vectors. meanings: T numbers, the same where rows may be the same.
    """
    meaning = torch.tensor(meanings, device=vectors.device)
    pairs: list[tuple[int, int]] = []
    with torch.autocast(vectors.device.type, enabled=False):
        for start in range(0, len(vectors), SLICE_ROWS):
            end = start + SLICE_ROWS
            same = vectors[start:end] @ vectors[:end].T > SAME
            same &= meaning[start:end, None] != meaning[:end]
            later = same.tril(start - 1).any(1).nonzero()[:, 0]
            earlier = same[later].int().argmax(1)
            pairs += zip(earlier.tolist(), (later + start).tolist(), strict=True)
    return pairs
