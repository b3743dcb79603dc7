"""A text tower of a vector for each word, for tests of mechanics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from concerto.translator import TextTower

WIDTH = 12


class WordTower(TextTower):
    """A random vector for each word; reads three words, and counts what it is asked."""

    def __init__(self, width: int = WIDTH) -> None:
        self.width, self.temperature = width, 0.1
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str], device: torch.device) -> Tensor:
        self.asked += texts
        return torch.stack(
            [sum(map(self._word, text.split()[:3]), torch.zeros(self.width)) for text in texts]
        ).to(device)

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        return [len(text.split()) > 3 for text in texts]

    def _word(self, word: str) -> Tensor:
        seed = int.from_bytes(word.encode(), "little") % 2**31
        return torch.randn(self.width, generator=torch.Generator().manual_seed(seed))
