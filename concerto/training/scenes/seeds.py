"""One integer from which all randomness of one sample in one epoch comes.

What is drawn for a sample, its views, masks, curve orders and dropped paths, depends on nothing
else: not on the batch it lands in, nor on the worker, the process or what was drawn before.
"""

from __future__ import annotations

MASK = 2**64 - 1
# The odd integer nearest to 2**64 / golden ratio: the step of splitmix64.
STEP = 0x9E3779B97F4A7C15


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """A seed in 0 … 2**63 - 1 for the sample `index` in `epoch` of the run with `seed`."""
    state = 0
    for value in (seed, epoch, index):
        state = _mix((state + STEP + value) & MASK)
    return state >> 1


def _mix(value: int) -> int:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit in changes half of those
    out, and different values stay different."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)
