"""Sinkhorn-Knopp: soft assignments of rows to prototypes that use every prototype alike.

Without it a teacher could give every point the same prototype, and a student would agree with it
at once. Sources: M. Cuturi, arXiv 1306.0895; SwAV, arXiv 2006.09882.
"""

from __future__ import annotations

import torch
from torch import Tensor

from concerto.training.run.distributed import all_max, all_sum

ITERATIONS = 3


@torch.no_grad()
def sinkhorn(logits: Tensor, temperature: float) -> Tensor:
    """Balanced assignments (n, K) float32, rows of sum 1, from logits (n, K).

    Q = exp(logits / temperature); three times, each prototype's column is scaled to the sum 1/K,
    then each of the B rows to 1/B; at the end all is scaled by B. Columns sum over the rows of all
    processes, some of which may have none.

    Only two vectors are iterated, Q = diag(r) E diag(c): E is read six times and written once.
    Constant factors of a column or row scaling cancel in the next, so K and B do not appear.
    """
    with torch.autocast(logits.device.type, enabled=False):
        e = _exponentials(logits.float(), temperature)
        r = e.new_ones(len(e))
        for _ in range(ITERATIONS):
            c = 1 / all_sum(e.T @ r)
            r = 1 / (e @ c)
        return e.mul_(c).mul_(r[:, None])


def _exponentials(logits: Tensor, temperature: float) -> Tensor:
    """exp(logits / temperature), times a factor common to all, which Sinkhorn does not see."""
    highest = logits.max() if logits.numel() else logits.new_tensor(-torch.inf)
    e = ((logits - all_max(highest)) / temperature).exp_()
    # Nor may a row or column vanish, where rounding would leave 0 / 0.
    return e.clamp_(min=torch.finfo(e.dtype).tiny)
