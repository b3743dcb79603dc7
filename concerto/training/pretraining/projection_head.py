"""What turns encoder features into scores of prototypes: an MLP, the unit sphere, directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.encoder.initial import draw_linear


class ProjectionHead(nn.Module):
    """Linear, GELU, linear, L2 norm, prototypes: (n, C) → (n, K) logits in float32.

    Norms and logits are computed in float32 under autocast too: divided by a temperature of .04,
    the rounding of half precision would weigh as much as what training changes.
    """

    def __init__(self, in_channels: int, hidden: int, width: int, prototypes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_channels, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.prototypes = Prototypes(width, prototypes)
        draw_linear(self)

    def embed(self, x: Tensor) -> Tensor:
        """(n, C) → (n, D) float32 of unit length."""
        x = self.fc2(F.gelu(self.fc1(x)))
        return F.normalize(x.float(), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.prototypes(self.embed(x))
        return logits


class Prototypes(nn.Module):
    """Scalar products with K weight-normalised rows, gain · direction / |direction|.

    direction: (K, D), trained. gain: (K, 1), fixed, 1 unless a checkpoint says otherwise.
    """

    gain: Tensor

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        # Their length, 0.58 by this, says how far a step of the optimiser turns them.
        bound = width**-0.5
        self.direction = nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))
        self.register_buffer("gain", torch.ones(count, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, D) float32 → (n, K) float32."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, self.gain * F.normalize(self.direction, dim=1))
