"""Losses of segmentation: cross-entropy, and Lovász-softmax for the intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -1


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over labelled points of -log softmax(logits)[label]; 0 where there are none.

    logits: (n, K). labels: (n,) int64, -1 for none.
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp(min=1)


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes present of the Lovász extension of 1 - IoU, at the errors of softmax.

    logits: (n, K). labels: (n,) int64, -1 for none. 0 where no point is labelled.

    Source: M. Berman et al., arXiv 1705.08790, equations 8 and 9.
    """
    labelled = labels != IGNORE
    probabilities, labels = logits.float()[labelled].softmax(1), labels[labelled]
    losses = []
    for number in labels.unique().tolist():
        truth = (labels == number).float()
        errors = (truth - probabilities[:, number]).abs()
        errors, order = errors.sort(descending=True)
        losses.append(errors @ _jaccard_steps(truth[order]))
    return torch.stack(losses).mean() if losses else logits.float().sum() * 0


def _jaccard_steps(truth: Tensor) -> Tensor:
    """By how much 1 - IoU grows as each point in turn is got wrong as well: (n,)."""
    intersection = truth.sum() - truth.cumsum(0)
    union = truth.sum() + (1 - truth).cumsum(0)
    loss = 1 - intersection / union
    return loss.diff(prepend=loss.new_zeros(1))
