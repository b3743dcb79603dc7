"""Has training collapsed? Four numbers that tell, and what each of them most likely means.

A self-distilled model can lower its loss by saying the same of every point. Its loss looks fine
then; the numbers below do not. They are taken on one fixed scene, so that they depend neither on
the batch nor on the number of processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

# Rows that a rank is estimated from.
RANK_ROWS = 4096
# When to warn. These bounds are judgements: random weights already lie within them.
LOWEST_RANK = 2.0
LARGEST_RANK_LOSS = 0.7
LOWEST_USE = 0.05
HIGHEST_ROW_ENTROPY = 0.98
LOWEST_AGREEMENT = 0.2


@dataclass(frozen=True)
class Health:
    """Numbers of one moment.

    feature_rank: effective rank of the student's features. prototype_use: how evenly the rows
    use the prototypes, 0 (all rows one) to 1 (all alike). row_entropy: how undecided a single row
    is, 0 (one prototype) to 1 (all alike). agreement: mean cosine between what student and teacher
    say of the same rows, -1 to 1.
    """

    feature_rank: float
    prototype_use: float
    row_entropy: float
    agreement: float

    def values(self) -> dict[str, float]:
        """By name, as curves show them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def measure(
    features: Tensor, logits: Tensor, temperature: float, student: Tensor, teacher: Tensor
) -> Health:
    """The health of a model, from what it says of n rows.

    features: (n, C) of the student's encoder. logits: (n, K) of the teacher's prototypes, to be
    divided by `temperature`. student, teacher: (n, D) embeddings of both heads.
    """
    use, row = prototype_entropies(logits, temperature)
    return Health(effective_rank(features), use, row, agreement(student, teacher))


def effective_rank(features: Tensor) -> float:
    """Along how many directions (n, C) rows vary: exp of the entropy of their singular values.

    O. Roy and M. Vetterli, "The effective rank", EUSIPCO 2007; as a monitor of self-supervised
    training: RankMe, arXiv 2210.02885. The mean is taken off first: it is no direction of
    variation. 0 where nothing varies, NaN where a value is not finite.
    """
    step = -(-len(features) // RANK_ROWS)
    rows = features.detach()[::step].double().cpu()
    rows = rows - rows.mean(0)
    if not rows.isfinite().all():
        return math.nan
    gram = rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = float(singular.sum())
    if total == 0:
        return 0.0
    return math.exp(float(torch.special.entr(singular / total).sum()))


def prototype_entropies(logits: Tensor, temperature: float) -> tuple[float, float]:
    """Entropies of soft assignments (n, K): of their mean, and their mean; each over log K."""
    shares = F.softmax(logits.detach().double().cpu() / temperature, dim=1)
    scale = math.log(shares.shape[1])
    of_mean = float(torch.special.entr(shares.mean(0)).sum()) / scale
    return of_mean, float(torch.special.entr(shares).sum(1).mean()) / scale


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Mean cosine between two embeddings (n, D) of the same rows."""
    return float(F.cosine_similarity(student.detach().double(), teacher.detach().double()).mean())


class CollapseWatch:
    """Reads one `Health` after another, and says when something looks like a collapse.

    Each kind of trouble is told once, and again only after it was gone.
    """

    def __init__(self) -> None:
        self._best_rank = 0.0
        self._told: set[str] = set()

    def read(self, health: Health) -> list[str]:
        """Messages that name what is wrong, the likely cause, and what to try."""
        self._best_rank = max(self._best_rank, health.feature_rank)
        troubles = dict(self._troubles(health))
        new = [message for kind, message in troubles.items() if kind not in self._told]
        self._told = set(troubles)
        return new

    def _troubles(self, health: Health) -> list[tuple[str, str]]:
        found = []
        if not all(math.isfinite(value) for value in health.values().values()):
            return [
                (
                    "finite",
                    "Features are NaN or infinite. The likely cause is a learning rate that is too "
                    "high, or half precision: continue from an earlier checkpoint with a lower "
                    "rate, or in bfloat16 or float32.",
                )
            ]
        rank, fallen = health.feature_rank, 1 - health.feature_rank / max(self._best_rank, 1e-9)
        if rank < LOWEST_RANK or fallen > LARGEST_RANK_LOSS:
            found.append(
                (
                    "rank",
                    f"Features vary along {rank:.1f} directions, after {self._best_rank:.1f} at "
                    "best. The likely cause is a learning rate that is too high for the batch, or "
                    "weight decay that grew too fast: lower them.",
                )
            )
        if health.prototype_use < LOWEST_USE:
            found.append(
                (
                    "use",
                    "Nearly all points fall to a few prototypes (evenness "
                    f"{health.prototype_use:.3f}). The likely cause is a batch with too few points "
                    "for so many prototypes, or a teacher temperature that is too low: use a "
                    "larger batch, fewer prototypes, or a higher temperature.",
                )
            )
        if health.row_entropy > HIGHEST_ROW_ENTROPY:
            found.append(
                (
                    "undecided",
                    "The teacher finds all prototypes alike for every point (entropy "
                    f"{health.row_entropy:.3f} of 1). The likely cause is a teacher temperature "
                    "that is too high, or a learning rate so low that nothing is learnt.",
                )
            )
        if health.agreement < LOWEST_AGREEMENT:
            found.append(
                (
                    "agreement",
                    "Student and teacher say different things of the same points (cosine "
                    f"{health.agreement:.2f}). The likely cause is a teacher momentum too high for "
                    "so short a run, or a learning rate that is too high.",
                )
            )
        return found
