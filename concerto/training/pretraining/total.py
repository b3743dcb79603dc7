"""From what each process found to numbers of the whole batch, the same in every process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto.training.pretraining.distillation import Distilled
from concerto.training.run.distributed import all_sum, world_size

# Added to a squared variance of unit vectors: below its root nothing varies but by rounding.
NOTHING_VARIES = 1e-12


@dataclass(frozen=True)
class Losses:
    """Scalars of the whole batch, the same in every process.

    total: with gradient; the mean over processes, as DDP takes it, is that of the whole batch.
    mask, roll_mask, unmask, cross_modal: the terms without their weights.
    agreement: share of the mask and roll mask pairs whose likeliest prototype is the target's.
    prototype_use: how evenly the student's likeliest prototypes spread over those pairs: entropy
        over the largest possible, 0 (one prototype for all) to 1.
    feature_rank: along how many directions the student's embeddings of masked views vary,
        (Σλ)² / Σλ² of their covariance; 0 where they do not vary.
    pairs, patches: how many pairs of points (of all three terms) and image patches took part.
    """

    total: Tensor
    mask: Tensor
    roll_mask: Tensor
    unmask: Tensor
    cross_modal: Tensor
    agreement: Tensor
    prototype_use: Tensor
    feature_rank: Tensor
    pairs: Tensor
    patches: Tensor


def combine(
    terms: tuple[Distilled, Distilled, Distilled],
    patches: Tensor,
    embedded: Tensor,
    weights: Sequence[float],
) -> Losses:
    """Means over views (mask, roll mask, unmask) and over patches, and their weighted sum.

    patches: (p,) losses of this process' patches. embedded: (n, D) the student's, without
    gradient. weights: of the three terms and of the patches.
    """
    totals = torch.stack([*(term.total for term in terms), patches.sum()])
    hits = torch.tensor(len(patches), device=totals.device)
    mask, roll, _ = terms
    counts = all_sum(
        torch.stack([*(term.views for term in terms), hits, *(term.pairs for term in terms)])
    )
    used = all_sum(torch.cat([mask.used + roll.used, (mask.agreeing + roll.agreeing)[None]]))
    # Their mean over processes is the mean over all views, or patches.
    means = totals * world_size() / counts[:4].clamp(min=1)
    weight = means.new_tensor(weights)
    own = (weight[:3] * means[:3]).sum()
    # Without a patch in any process the other terms take over the weight: the same graph always.
    cross = torch.where(counts[3] > 0, means[3], own / weight[:3].sum())
    total = own + weight[3] * cross
    values = all_sum(torch.stack([total, *means[:3], cross]).detach()) / world_size()
    return Losses(
        total=total + (values[0] - total.detach()),
        mask=values[1],
        roll_mask=values[2],
        unmask=values[3],
        cross_modal=values[4],
        agreement=used[-1] / (counts[4] + counts[5]).clamp(min=1),
        prototype_use=_evenness(used[:-1]),
        feature_rank=_rank(embedded),
        pairs=counts[4:].sum(),
        patches=counts[3],
    )


def _evenness(used: Tensor) -> Tensor:
    """Entropy of counts (K,), K > 1, over the largest that so many counts can have."""
    count = used.sum()
    entropy = torch.special.entr(used / count.clamp(min=1)).sum()
    evenness: Tensor = entropy / count.clamp(min=2, max=len(used)).log()
    return evenness


def _rank(embedded: Tensor) -> Tensor:
    """(Σλ)² / Σλ² of the covariance of rows (n, D) of all processes: no eigenvalue is needed."""
    count = torch.tensor(len(embedded), device=embedded.device)
    sums = all_sum(torch.cat([embedded.sum(0), count[None]]))
    embedded = embedded - sums[:-1] / sums[-1]
    with torch.autocast(embedded.device.type, enabled=False):
        covariance = all_sum(embedded.T @ embedded) / sums[-1]
    rank: Tensor = covariance.trace().square() / (covariance.square().sum() + NOTHING_VARIES)
    return rank
