"""Texts that stand beside each other for a choice, understood through the names that were taught.

A map that labels taught leads each voxel to the names of things it may be. A word that is none of
them is then best told by the names it is near to, "couch" by mostly "sofa", rather than by its own
vector, which what no scene has to do with moves as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# Rounds in which names are shared out; after ten little moves.
ROUNDS = 10


@dataclass(frozen=True)
class Alternatives:
    """vectors: (T, D) unit vectors, one a text. centre: (D,), what all are seen from."""

    vectors: Tensor
    centre: Tensor

    def cosines(self, vectors: Tensor) -> Tensor:
        """(n, T), of unit vectors (n, D) of voxels with each text."""
        return F.normalize(vectors - self.centre, dim=1) @ self.vectors.T


def as_asked(asked: Tensor) -> Alternatives:
    """Each text by its own vector, (T, D)."""
    return Alternatives(asked, torch.zeros_like(asked[0]))


def through_names(asked: Tensor, names: Tensor, taught: Tensor, temperature: float) -> Alternatives:
    """Each text as a mixture of the names that the map was taught.

    asked: (T, D), names: (K, D) unit vectors of texts and names, in the same sentences. taught:
    (K, D) those that the map was fitted to. temperature: of the text tower.
    """
    centre = taught.mean(0)
    with torch.autocast(asked.device.type, enabled=False):
        mixed = share_out(asked, names, temperature) @ F.normalize(taught - centre, dim=1)
    return Alternatives(F.normalize(mixed, dim=1), centre)


def share_out(asked: Tensor, names: Tensor, temperature: float) -> Tensor:
    """How much of each name (K, D) is meant by each text (T, D): (T, K), rows sum to 1.

    By their cosines, seen from the mean of the names, since all names of things have much in
    common. Texts that are asked together mean different things. So where several lay claim to a
    name, more than one in all (or T / K, where texts outnumber names), those with another to turn
    to leave it to the others: optimal transport that need not use up the names, by Sinkhorn's
    scaling (arXiv 1607.05816).
    """
    centre = names.mean(0)
    alike = F.normalize(asked - centre, dim=1) @ F.normalize(names - centre, dim=1).T
    share = (alike / temperature).softmax(1)
    most = max(1.0, len(asked) / len(names))
    for _ in range(ROUNDS):
        share = share / (share.sum(0) / most).clamp(min=1)
        share = share / share.sum(1, keepdim=True)
    return share
