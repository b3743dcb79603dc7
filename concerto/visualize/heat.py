"""One number a point as a colour, dark blue for low through green to bright yellow for high."""

from __future__ import annotations

import torch
from torch import Tensor

from concerto.errors import InputError

# Lightness rises steadily along the ramp, so that it reads in grey and to the colour-blind too.
RAMP = (
    (0.11, 0.07, 0.30),
    (0.19, 0.22, 0.55),
    (0.13, 0.42, 0.60),
    (0.13, 0.60, 0.53),
    (0.42, 0.76, 0.35),
    (0.98, 0.91, 0.22),
)
# The share of points below the range shown: a few outliers must not take up the whole ramp.
CLIPPED = 0.02


def heat_colors(values: Tensor) -> Tensor:
    """Colours (N, 3) float32 in 0-1 for values (N,): the largest is the ramp's bright end.

    Raises InputError where values are not (N,), none, or not finite.
    """
    if values.ndim != 1 or not len(values):
        raise InputError(f"values has shape {tuple(values.shape)}; it must be (N,), N at least 1.")
    values = values.detach().float()
    if not torch.isfinite(values).all():
        raise InputError("values has some that are NaN or infinite in float32.")
    # By a power of two, which changes no digits: the largest less the smallest is then a float32.
    values = values / 4
    low, high = torch.quantile(values[:: -(-len(values) // 2**20)], CLIPPED), values.max()
    span = (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    place = ((values - low) / span).clamp(0, 1) * (len(RAMP) - 1)
    ramp = torch.tensor(RAMP, device=values.device)
    below = place.long().clamp(max=len(RAMP) - 2)
    share = (place - below)[:, None]
    return ramp[below] * (1 - share) + ramp[below + 1] * share
