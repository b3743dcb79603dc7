"""One self-distillation term: what the student says of a point against what the teacher says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.training.pretraining.assignment import sinkhorn
from concerto.training.pretraining.matching import Matches


@dataclass(frozen=True)
class Distilled:
    """This process' part of a term, to be summed over processes.

    total: scalar with gradient, sum over the views of the mean over their pairs. views: scalar,
    views that have pairs. pairs: scalar. agreeing: scalar, pairs whose likeliest prototype is the
    target's. used: (K,) pairs for which each prototype is the student's likeliest.
    """

    total: Tensor
    views: Tensor
    pairs: Tensor
    agreeing: Tensor
    used: Tensor


def distill(
    given: Tensor,
    wanted: Tensor,
    pairs: Matches,
    student_temperature: float,
    teacher_temperature: float,
) -> Distilled:
    """Cross-entropy between balanced assignments of the teacher and the student's predictions.

    given: (n, K) float32 logits of the student. wanted: (m, K) of the teacher, no gradient.
    A teacher's row that several pairs name counts in the balance as often.
    """
    target = sinkhorn(wanted.index_select(0, pairs.target), teacher_temperature)
    given = given.index_select(0, pairs.source) / student_temperature
    with torch.autocast(given.device.type, enabled=False):
        loss = F.cross_entropy(given, target, reduction="none")
    sums = loss.new_zeros(len(pairs.counts)).index_add(0, pairs.view, loss)
    likeliest = given.detach().argmax(1)
    return Distilled(
        total=(sums / pairs.counts.clamp(min=1)).sum(),
        views=(pairs.counts > 0).sum(),
        pairs=pairs.counts.sum(),
        agreeing=(likeliest == target.argmax(1)).sum(),
        used=torch.bincount(likeliest, minlength=given.shape[1]),
    )
