"""Values that follow the step of a run: plain functions of how far it has come.

A schedule is asked with the step, counted from 0, and the total number of steps; it keeps no
state, so a resumed run cannot lose its place.
"""

from __future__ import annotations

import math

# The rate starts at a tenth of its peak, and ends at a thousandth of its start.
START = 1 / 10
END = START / 1000
# AdamW's first average forgets faster where the rate is higher.
LONGEST_BETA, SHORTEST_BETA = 0.95, 0.85
SECOND_BETA = 0.999


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
