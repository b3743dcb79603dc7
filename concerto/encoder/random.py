"""Random numbers without a generator: each is a hash of what it is drawn for.

A number depends on its seed and its counters alone, not on what else is in the batch, how many
processes share the work, or whether a layer runs a second time to save memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The finaliser and the increment of splitmix64: G. L. Steele Jr., D. Lea, C. H. Flood, "Fast
# splittable pseudorandom number generators", OOPSLA 2014; as signed 64-bit integers.
INCREMENT = 0x9E3779B97F4A7C15 - 2**64
ROUNDS = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
LAST_SHIFT = 31

# A float32 holds this many bits of a number in [0, 1) exactly.
MANTISSA = 24


def hash_seeds(seeds: Tensor, *counters: Tensor | int) -> Tensor:
    """New seeds, int64, from old ones and counters; all broadcast together."""
    for counter in counters:
        seeds = _mix(_mix(seeds + INCREMENT) + counter)
    return seeds


def hash_uniform(seeds: Tensor, *counters: Tensor | int) -> Tensor:
    """Numbers in [0, 1), float32, one for each seed (int64) and counters, broadcast together.

    The same on every device.
    """
    bits = _shift_right(hash_seeds(seeds, *counters, 0), 64 - MANTISSA)
    return bits.to(torch.float32) * 2.0**-MANTISSA


def _mix(value: Tensor) -> Tensor:
    for shift, factor in ROUNDS:
        value = (value ^ _shift_right(value, shift)) * factor
    return value ^ _shift_right(value, LAST_SHIFT)


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Shift as if unsigned."""
    return value >> bits & (1 << 64 - bits) - 1
