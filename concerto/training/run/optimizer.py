"""AdamW; and for matrices, where a task wants it, Muon: steps that use all of their directions.

Muon takes the momentum of a matrix's gradient and brings its singular values to about 1, so that
rare directions are learnt as fast as common ones. Such a step has the size that AdamW's would have,
so both take the same learning rate and weight decay.

Sources: AdamW, arXiv 1711.05101. Muon, K. Jordan et al. 2024, kellerjordan.github.io/posts/muon,
with its factors of momentum and polynomial; sizes of steps and decay, arXiv 2502.16982.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from concerto.training.run.state import placed, whole
from concerto.training.run.task import ParameterGroup

MOMENTUM = 0.95
# Odd polynomial whose iteration takes singular values of 0 … 1 to 0.7 … 1.2, and how often.
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# Root mean square of AdamW's steps, over the learning rate.
STEP_SIZE = 0.2


class Optimizer(torch.optim.AdamW):
    """AdamW, but for groups with `muon`. Learning rate, weight decay and betas are the groups'."""

    def __init__(self, groups: Sequence[ParameterGroup]) -> None:
        super().__init__(
            [
                {"params": list(group.parameters), "lr": group.lr, "muon": group.muon}
                for group in groups
            ]
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        groups = self.param_groups
        self._forget_other_ways()
        for group in groups:
            if group["muon"]:
                for matrix in group["params"]:
                    self._step_matrix(matrix, group["lr"], group["weight_decay"])
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            loss: float | None = super().step(closure)
            return loss
        finally:
            self.param_groups = groups

    def _forget_other_ways(self) -> None:
        """What AdamW knows of a matrix is of no use to Muon, nor the other way round: a run may go
        on with another choice."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state.get(parameter)
                if state and ("momentum" in state) != group["muon"]:
                    state.clear()

    def _step_matrix(self, matrix: Tensor, lr: float, weight_decay: float) -> None:
        gradient = matrix.grad
        if gradient is None:
            return
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        # Sharded ones (FSDP) are put together for it, on every process.
        ahead = whole(gradient.lerp(momentum, MOMENTUM)).flatten(1)
        step = orthogonal(ahead).view(matrix.shape)
        matrix.mul_(1 - lr * weight_decay)
        matrix.add_(placed(step, matrix), alpha=-lr * STEP_SIZE * math.sqrt(max(ahead.shape)))


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (m, n) with its singular values brought to about 1, by Newton-Schulz iteration.

    Each step multiplies it by a polynomial of its Gram matrix. Those of a wide matrix are
    multiplied with each other first, which is a fraction of the work. In float32: processors
    without products in bfloat16 crawl through those.
    """
    x = matrix.float() / matrix.norm().clamp_min(torch.finfo(torch.float32).tiny)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    gram = x @ x.T
    factor = _polynomial(gram)
    if x.shape[1] > 1.5 * x.shape[0]:
        total = factor
        for _ in range(ITERATIONS - 1):
            gram = factor @ gram @ factor
            factor = _polynomial(gram)
            total = factor @ total
        x = total @ x
    else:
        for _ in range(ITERATIONS - 1):
            x = factor @ x
            factor = _polynomial(x @ x.T)
        x = factor @ x
    result: Tensor = (x.T if tall else x).to(matrix.dtype)
    return result


def _polynomial(gram: Tensor) -> Tensor:
    first, third, fifth = POLYNOMIAL
    factor = torch.addmm(gram, gram, gram, beta=third, alpha=fifth)
    factor.diagonal().add_(first)
    return factor
