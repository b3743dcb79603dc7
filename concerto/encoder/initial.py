"""How weights begin before any training: as those of the published encoder and its decoder do."""

from __future__ import annotations

from torch import Tensor, nn

STD = 0.02


def draw(weight: Tensor, bias: Tensor | None) -> None:
    """Weights from a normal distribution of deviation 0.02; biases are zero."""
    nn.init.trunc_normal_(weight, std=STD)
    if bias is not None:
        nn.init.zeros_(bias)


def draw_linear(module: nn.Module) -> None:
    """The same of every linear map in a module."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            draw(part.weight, part.bias)
