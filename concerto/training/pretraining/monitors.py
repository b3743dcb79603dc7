"""Has training collapsed? What the monitors of a step most likely mean.

A self-distilled model can lower its loss by saying the same of every point. Its loss looks fine
then; the rank of its features, its use of prototypes and its agreement with the teacher do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

# What is read is a running mean over about ten steps: one batch may be odd.
SMOOTHING = 0.9
# When to warn. Judgements: random weights, and runs that go well, stay clear of these.
LOWEST_RANK = 2.0
LOWEST_USE = 0.1
LARGEST_FALL = 0.7

WATCHED = ("feature_rank", "prototype_use", "agreement")


class CollapseWatch:
    """Reads the monitors of one step after another, and says when they look like a collapse.

    feature_rank: along how many directions the student's features vary, from 1. prototype_use:
    how evenly prototypes are used, 0 to 1. agreement: share of pairs of points of which student
    and teacher say the same, 0 to 1. Each kind of trouble is told once, and again only after it
    was gone.
    """

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._best: dict[str, float] = {}
        self._told: set[str] = set()

    def read(self, values: Mapping[str, float]) -> list[str]:
        """Messages that name what is wrong, the likely cause, and what to try."""
        for name in WATCHED:
            value = values[name]
            mean = SMOOTHING * self._mean.get(name, value) + (1 - SMOOTHING) * value
            self._mean[name] = mean
            self._best[name] = max(self._best.get(name, mean), mean)
        troubles = dict(self._troubles())
        new = [message for kind, message in troubles.items() if kind not in self._told]
        self._told = set(troubles)
        return new

    def state(self) -> dict[str, dict[str, float]]:
        """What a resumed run needs to know."""
        return {"mean": dict(self._mean), "best": dict(self._best)}

    def load_state(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Take what `state` gave. Troubles that last are told again."""
        self._mean, self._best = dict(state["mean"]), dict(state["best"])

    def _troubles(self) -> list[tuple[str, str]]:
        rank, use, agreement = (self._mean[name] for name in WATCHED)
        best_rank, _, best_agreement = (self._best[name] for name in WATCHED)
        found = []
        if rank < LOWEST_RANK or _fell(rank, best_rank):
            found.append(
                (
                    "rank",
                    f"Collapse: features vary along {rank:.1f} directions, after {best_rank:.1f} "
                    "at best. The likely cause is a learning rate that is too high for the batch "
                    "(--lr), or weight decay that grew too fast "
                    "(--schedules.weight-decay). Go back to an earlier checkpoint with less.",
                )
            )
        if use < LOWEST_USE:
            found.append(
                (
                    "use",
                    f"Collapse: nearly all points fall to a few prototypes (evenness {use:.2f} of "
                    f"1, agreement with the teacher {agreement:.2f}). The likely cause is a batch "
                    "with too few points for so many prototypes, or a teacher temperature that is "
                    "too low: use a larger --batch-size, fewer --objective.prototypes, or a higher "
                    "--schedules.teacher-temperature.",
                )
            )
        if _fell(agreement, best_agreement):
            found.append(
                (
                    "agreement",
                    "Student and teacher drift apart: they agree on "
                    f"{agreement:.2f} of the points, after {best_agreement:.2f} at best. The "
                    "likely cause is a learning rate that is too high (--lr), or a teacher that "
                    "follows too slowly "
                    "(--schedules.momentum).",
                )
            )
        return found


def _fell(value: float, best: float) -> bool:
    return math.isfinite(value) and value < (1 - LARGEST_FALL) * best
