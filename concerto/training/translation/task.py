"""How a translator's map is trained: what is frozen, what it is fitted to, and by which steps.

The encoder is frozen, and so is who says what voxels should map to: a CLIP image tower, or the text
tower itself where scenes are labelled. Left is a least-squares problem. `Translation` solves it by
gradient descent in the standing loop, in coordinates where all directions of the features vary
alike, so that the steps lead straight to where the closed form ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.hierarchy import Hierarchy
from concerto.model import Concerto
from concerto.training.images.teacher import ImageTeacher
from concerto.training.run.schedules import SECOND_BETA, one_cycle
from concerto.training.run.task import ParameterGroup, Rates, StepOutput, Task
from concerto.training.translation.aligned import AlignedBatch, AlignedSample, Pairs, pairs
from concerto.training.translation.normal_equations import NormalEquations

# Share of the steps over which the learning rate rises.
WARMUP = 0.05


@dataclass(frozen=True)
class Teaching:
    """The frozen parts. encoder: on its device. stages: that the map reads.

    One of the two says what voxels map to: images, a teacher of dense features in the joint space,
    or names, (K, D) unit vectors of the classes' names.
    """

    encoder: Concerto
    stages: tuple[int, ...]
    images: ImageTeacher | None
    names: Tensor | None

    @property
    def features(self) -> int:
        """Channels of the map's input."""
        return self.encoder.feature_dim(self.stages)

    @property
    def width(self) -> int:
        """Dimensions of the joint space."""
        if self.images is not None:
            return self.images.width
        assert self.names is not None
        return self.names.shape[1]

    def pairs(self, batch: AlignedBatch) -> Pairs:
        """All voxels of which something is known."""
        found = [self._pairs(sample) for sample in batch.samples]
        return Pairs(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _pairs(self, sample: AlignedSample) -> Pairs:
        vectors = self.names
        if self.images is not None:
            vectors = F.normalize(self.images(sample.images).flatten(0, 1), dim=1)
        assert vectors is not None
        vectors = vectors.to(self.encoder.device)
        found: list[Pairs] = []

        def read(hierarchy: Hierarchy) -> Tensor:
            found.append(
                pairs(hierarchy, self.stages, sample, vectors, balance=self.images is None)
            )
            return hierarchy.voxel_of_point  # a row a point is asked for

        self.encoder.infer(sample.scene, read)
        return found[0]


class WhiteMap(nn.Module):
    """A linear map of whitened features: (m, C), (m, D) → the mean squared distance."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("whitening", torch.eye(features))
        self.linear = nn.Linear(features, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def start(self, sums: NormalEquations, floor: float) -> None:
        """Take whitening, and the bias of the best constant, from a share of the data."""
        mean, whitening = sums.whitening(floor)
        with torch.no_grad():
            self.mean.copy_(mean)
            self.whitening.copy_(whitening)
            self.linear.bias.copy_(sums.t / sums.count)

    def forward(self, batch: Pairs) -> tuple[Tensor, Tensor]:
        """The loss to minimise, and beside it the mean cosine."""
        features, targets, weight = batch
        # In float32 under autocast too: whitening makes much of what lower precision rounds away.
        with torch.autocast(features.device.type, enabled=False):
            out = self.linear((features - self.mean) @ self.whitening.T)
            loss = ((out - targets).square().sum(1) * weight).mean()
            return loss, F.cosine_similarity(out.detach(), targets, dim=1).mean()

    def plain(self) -> tuple[Tensor, Tensor]:
        """The same map of features as they are: weight (D, C) and bias (D,), float64."""
        # On the CPU, as Apple's GPUs have no float64.
        state = {name: tensor.cpu().double() for name, tensor in self.state_dict().items()}
        weight = state["linear.weight"] @ state["whitening"]
        return weight, state["linear.bias"] - weight @ state["mean"]


class Translation(Task[AlignedBatch]):
    """Gradient descent on the map alone.

    settings: what makes the run what it is. A new run whitens by `module.start` first.
    """

    module: WhiteMap

    def __init__(
        self,
        teaching: Teaching,
        lr: float,
        weight_decay: float,
        settings: dict[str, Any],
    ) -> None:
        self.teaching, self.lr, self.weight_decay = teaching, lr, weight_decay
        self.module = WhiteMap(teaching.features, teaching.width)
        self._settings = settings

    def forward(self, module: nn.Module, batch: AlignedBatch, step: int, total: int) -> StepOutput:
        """One batch: frozen parts first, then the map."""
        found = self.teaching.pairs(batch)
        loss, alike = module(found)
        return StepOutput(loss, {"cosine": alike, "voxels": float(len(found.features))})

    def parameter_groups(self) -> list[ParameterGroup]:
        """The map's weight and bias."""
        weight, bias = self.module.linear.parameters()
        return [ParameterGroup([weight], self.lr), ParameterGroup([bias], self.lr, decay=0.0)]

    def rates(self, step: int, total: int) -> Rates:
        """The learning rate's cycle."""
        factor, beta = one_cycle(step, total, WARMUP)
        return Rates(factor, self.weight_decay, (beta, SECOND_BETA))

    def settings(self) -> dict[str, Any]:
        """Of the run."""
        return self._settings
