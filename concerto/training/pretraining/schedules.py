"""What changes from the first step of pretraining to the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from concerto.errors import ConfigError
from concerto.training.pretraining.objective import StepSettings
from concerto.training.run.schedules import SECOND_BETA, cosine, one_cycle, ramp
from concerto.training.run.task import Rates


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
