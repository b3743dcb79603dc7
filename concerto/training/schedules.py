"""Values that follow the step of a run: plain functions of how far it has come.

A schedule is asked with the step, counted from 0, and the total number of steps; it keeps no
state, so a resumed run cannot lose its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from concerto.errors import ConfigError
from concerto.training.objective import StepSettings
from concerto.training.task import Rates

# The rate starts at a tenth of its peak, and ends at a thousandth of its start.
START = 1 / 10
END = START / 1000
# AdamW's first average forgets faster where the rate is higher.
LONGEST_BETA, SHORTEST_BETA = 0.95, 0.85
SECOND_BETA = 0.999


@dataclass(frozen=True)
class PretrainSchedules:
    """What changes from the first step to the last."""

    warmup: float = 0.05
    """Share of the steps in which the learning rate rises and the task grows harder."""
    weight_decay: tuple[float, float] = (0.04, 0.2)
    """First and last, of every trained parameter; a cosine."""
    momentum: tuple[float, float] = (0.994, 1.0)
    """First and last share of itself that the teacher keeps in a step; a cosine."""
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    """What divides the teacher's logits, first and after the warm-up."""
    mask_size: tuple[float, float] = (0.1, 0.4)
    """Edge of a masked cell in metres, after scaling, first and after the warm-up."""
    mask_ratio: tuple[float, float] = (0.3, 0.7)
    """Share of cells that is masked, first and after the warm-up."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is {self.warmup!r}; it is a share of all steps, in [0, 1).")
        for name in ("momentum", "mask_ratio"):
            self._check(name, "shares, in [0, 1]", lambda value: 0 <= value <= 1)
        for name in ("teacher_temperature", "mask_size"):
            self._check(name, "over 0", lambda value: value > 0)
        self._check("weight_decay", "at least 0", lambda value: value >= 0)

    def rates(self, step: int, total: int) -> Rates:
        """What the optimiser has to know of a step."""
        factor, beta = one_cycle(step, total, self.warmup)
        return Rates(factor, cosine(step, total, self.weight_decay), (beta, SECOND_BETA))

    def settings(self, step: int, total: int) -> StepSettings:
        """What the objective has to know of a step."""
        return StepSettings(
            teacher_temperature=ramp(step, total, self.teacher_temperature, self.warmup),
            mask_size=ramp(step, total, self.mask_size, self.warmup),
            mask_ratio=ramp(step, total, self.mask_ratio, self.warmup),
        )

    def _check(self, name: str, wanted: str, fits: Callable[[float], bool]) -> None:
        first, last = getattr(self, name)
        if not (fits(first) and fits(last)):
            raise ConfigError(f"{name} is {first:g}, {last:g}; both must be {wanted}.")


def one_cycle(step: int, total: int, warmup: float) -> tuple[float, float]:
    """The learning rate, relative to its peak, and β1: half cosine waves, as torch's OneCycleLR.

    Source: L. Smith, N. Topin, arXiv 1708.07120.
    """
    turn = max(0.0, warmup * total - 1)
    if step <= turn and turn > 0:
        share = step / turn
        return _half_wave(START, 1.0, share), _half_wave(LONGEST_BETA, SHORTEST_BETA, share)
    share = (step - turn) / max(1.0, total - 1 - turn)
    return _half_wave(1.0, END, share), _half_wave(SHORTEST_BETA, LONGEST_BETA, share)


def cosine(step: int, total: int, ends: tuple[float, float]) -> float:
    """last + (first - last) / 2 · (1 + cos(π step / total)), as DINO has it (arXiv 2104.14294)."""
    return _half_wave(*ends, step / total)


def ramp(step: int, total: int, ends: tuple[float, float], warmup: float) -> float:
    """In a straight line from the first to the last value in the warm-up, and constant then."""
    first, last = ends
    length = round(warmup * total)
    return first + (last - first) * step / length if step < length else last


def _half_wave(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * min(share, 1.0)))
