"""Values that change over a run: functions of a step, counted from 0, and of the run's steps.

A cosine is `last + ½ (first - last) (1 + cos(π step / steps))`, as in arXiv 2104.14294 (DINO).
"""

from __future__ import annotations

import math

from concerto.training.task import Rates

# One cycle of the learning rate: L. N. Smith, N. Topin, arXiv 1708.07120, in the form that PyTorch
# gives it: a cosine up from a tenth, and one down to a thousandth of that.
START = 1 / 10
END = START / 1000
# Adam's first average is shorter where the rate is higher.
LONGEST, SHORTEST = 0.95, 0.85
SECOND_BETA = 0.999


def one_cycle(step: int, steps: int, warmup: float) -> Rates:
    """The rate's factor, rising over the share `warmup` of the steps and then falling; and betas."""
    top = max(warmup * steps - 1, 0.0)
    if step <= top:
        share = _half_cosine(step / top) if top else 1.0
        factor, beta = START + (1 - START) * share, LONGEST + (SHORTEST - LONGEST) * share
    else:
        share = _half_cosine(min((step - top) / max(steps - 1 - top, 1), 1))
        factor, beta = 1 + (END - 1) * share, SHORTEST + (LONGEST - SHORTEST) * share
    return Rates(lr_factor=factor, betas=(beta, SECOND_BETA))


def cosine(step: int, steps: int, ends: tuple[float, float]) -> float:
    """From the first to the last value, slowly at both ends."""
    first, last = ends
    return first + (last - first) * _half_cosine(min(step / steps, 1))


def ramp(step: int, steps: int, ends: tuple[float, float], warmup: float) -> float:
    """In a straight line from the first to the last value over the share `warmup` of the steps."""
    first, last = ends
    length = warmup * steps
    return first + (last - first) * min(step / length, 1) if length else last


def _half_cosine(share: float) -> float:
    """0 → 1, by half a cosine."""
    return (1 - math.cos(math.pi * share)) / 2
