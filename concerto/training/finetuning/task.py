"""The task of fine-tuning: what of encoder and head is trained, how fast, against which loss."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor, nn

from concerto.encoder import Block, PointTransformer
from concerto.heads import Head
from concerto.hierarchy import Hierarchy
from concerto.training.finetuning.losses import cross_entropy, lovasz_softmax
from concerto.training.run.schedules import SECOND_BETA, one_cycle
from concerto.training.run.task import ParameterGroup, Rates, StepOutput, Task
from concerto.training.views.labelled import LabelledBatch

Mode = Literal["linear", "decoder", "full", "lora"]
# Published: share of the steps in which the rate rises.
WARMUP = 0.05


@dataclasses.dataclass(frozen=True)
class SegmentationLosses:
    """Scalars of one batch."""

    cross_entropy: Tensor
    lovasz: Tensor
    accuracy: Tensor


class SegmentationModule(nn.Module):
    """Encoder and head, from voxels to losses. An encoder of which nothing is trained is left in
    inference: without gradients, dropped paths and shuffled curves."""

    def __init__(self, encoder: PointTransformer, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, batch: LabelledBatch) -> SegmentationLosses:
        trained = any(parameter.requires_grad for parameter in self.encoder.parameters())
        self.encoder.train(trained)
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            levels = self.encoder(batch.feat, batch.grid_coord, batch.offsets, seeds=batch.seeds)
        rows = torch.arange(len(batch.feat), device=batch.feat.device)
        hierarchy = Hierarchy.build(
            levels, batch.feat[:, :3], rows, [len(rows)], (len(levels) - 1,), single=True
        )
        logits = self.head(hierarchy)
        known = batch.segment >= 0
        hits = (logits.argmax(1) == batch.segment)[known].float()
        return SegmentationLosses(
            cross_entropy(logits, batch.segment),
            lovasz_softmax(logits, batch.segment),
            hits.sum() / known.sum().clamp(min=1),
        )


class Finetuning(Task[LabelledBatch]):
    """Train a head, and as much of its encoder as `mode` says.

    lr: of all but what lies in blocks, whose rate is block_lr. known: settings of the run.
    """

    module: SegmentationModule

    def __init__(
        self,
        module: SegmentationModule,
        lr: float,
        block_lr: float,
        weight_decay: float,
        known: dict[str, Any],
    ) -> None:
        self.module = module
        self.lr, self.block_lr, self.weight_decay, self.known = lr, block_lr, weight_decay, known

    def forward(self, module: nn.Module, batch: LabelledBatch, step: int, total: int) -> StepOutput:
        """Cross-entropy + Lovász, both of weight 1."""
        losses = module(batch)
        values = {
            "cross_entropy": losses.cross_entropy,
            "lovasz": losses.lovasz,
            "accuracy": losses.accuracy,
        }
        return StepOutput(losses.cross_entropy + losses.lovasz, values)

    def parameter_groups(self) -> list[ParameterGroup]:
        """What is trained: blocks slower than the rest."""
        blocks = {
            id(parameter)
            for block in self.module.modules()
            if isinstance(block, Block)
            for parameter in block.parameters()
        }
        trained = [p for p in self.module.parameters() if p.requires_grad]
        slow = [p for p in trained if id(p) in blocks]
        fast = [p for p in trained if id(p) not in blocks]
        groups = [ParameterGroup(fast, self.lr), ParameterGroup(slow, self.block_lr)]
        return [group for group in groups if group.parameters]

    def rates(self, step: int, total: int) -> Rates:
        """One cycle of the rate, and a constant weight decay."""
        factor, beta = one_cycle(step, total, WARMUP)
        return Rates(factor, self.weight_decay, (beta, SECOND_BETA))

    def settings(self) -> dict[str, Any]:
        """What makes the run what it is."""
        return self.known
