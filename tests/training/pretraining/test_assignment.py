"""Balanced assignments."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from concerto.training.pretraining.assignment import sinkhorn


def by_definition(logits: Tensor, temperature: float) -> Tensor:
    rows, prototypes = logits.shape
    q = (logits.double() / temperature).exp()
    q = q / q.sum()
    for _ in range(3):
        q = q / q.sum(0) / prototypes
        q = q / q.sum(1, keepdim=True) / rows
    return q * rows


@settings(deadline=None)
@given(
    rows=st.integers(1, 60),
    prototypes=st.integers(2, 20),
    temperature=st.floats(0.04, 1),
    seed=st.integers(0, 100),
)
def test_it_is_what_the_definition_says(
    rows: int, prototypes: int, temperature: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.rand(rows, prototypes, generator=random) - 1
    wanted = by_definition(logits, temperature)
    assert torch.allclose(sinkhorn(logits, temperature).double(), wanted, rtol=1e-4, atol=1e-6)


def test_every_prototype_is_used_though_all_rows_prefer_one() -> None:
    logits = torch.rand(400, 8, generator=torch.Generator().manual_seed(0))
    logits[:, 0] += 1
    used = sinkhorn(logits, 0.05).sum(0)
    assert (logits.argmax(1) == 0).all()
    assert used.min() > 0.8 * 400 / 8
    assert used.max() < 1.2 * 400 / 8


def test_huge_logits_overflow_nowhere() -> None:
    logits = torch.tensor([[1000.0, -1000.0], [-1000.0, -990.0], [0.0, 0.0]])
    given = sinkhorn(logits, 0.04)
    assert given.isfinite().all()
    assert torch.allclose(given.sum(1), torch.ones(3))


def test_half_precision_and_autocast_are_computed_in_float32() -> None:
    logits = torch.rand(30, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    wanted = sinkhorn(logits.float(), 0.04)
    assert torch.equal(sinkhorn(logits, 0.04), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sinkhorn(logits, 0.04), wanted)


def test_no_rows_have_no_assignments() -> None:
    assert sinkhorn(torch.empty(0, 7), 0.05).shape == (0, 7)
