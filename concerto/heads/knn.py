"""Classes from the nearest labelled features, without any training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.errors import ConfigError
from concerto.heads.configs import KnnConfig
from concerto.hierarchy import Hierarchy

# Rows compared at a time: with 20,000 kept features, 80 MB of cosines.
CHUNK = 1024


class KnnHead(nn.Module):
    """Hierarchy → logarithms of the votes (n, K) of the finest voxels.

    features: (rows, C) of unit length, and labels: (rows,), are what a fit fills in; a label of -1
    has no vote.
    """

    features: Tensor
    labels: Tensor

    def __init__(self, config: KnnConfig, width: int, classes: int) -> None:
        """width: channels of the features that are compared."""
        super().__init__()
        self.config, self.classes = config, classes
        self.register_buffer("features", torch.zeros(config.rows, width))
        # Floats, as all tensors of weights are.
        self.register_buffer("labels", torch.full((config.rows,), -1.0))

    def forward(self, hierarchy: Hierarchy) -> Tensor:
        features = hierarchy.features(self.config.stages, at="voxels")
        rows = features if isinstance(features, Tensor) else torch.cat(features)
        return self.votes(rows).log()

    def votes(self, features: Tensor) -> Tensor:
        """(n, C) features → (n, K) shares of the votes, over 0.

        Raises ConfigError where the weights' dtype cannot count so many classes.
        """
        self.check_countable()
        bank = self.features.to(torch.float32)
        one_hot = F.one_hot(self.labels.long() + 1, self.classes + 1)[:, 1:].float()
        neighbors = min(self.config.neighbors, len(bank))
        tiny = torch.finfo(torch.float32).tiny
        votes = []
        for rows in features.float().split(CHUNK):
            cosine, nearest = (F.normalize(rows, dim=1) @ bank.T).topk(neighbors, dim=1)
            weight = (cosine / max(self.config.temperature, tiny)).softmax(1)
            votes.append(torch.einsum("nk,nkc->nc", weight, one_hot[nearest]))
        return torch.cat(votes).clamp(min=tiny)

    def check_countable(self) -> None:
        """Raise ConfigError where the weights' dtype cannot count so many classes."""
        dtype = self.labels.dtype
        exact = int(2 / torch.finfo(dtype).eps)
        if self.classes - 1 > exact:
            raise ConfigError(
                f"This head keeps the numbers of {self.classes} classes, and {dtype} has whole "
                f"numbers to {exact} only. Load it in float32; autocast may still compute in less."
            )
