"""Values that change over a run."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from concerto.training.run.schedules import cosine, one_cycle, ramp


@settings(deadline=None)
@given(steps=st.integers(40, 400), warmup=st.floats(0.05, 0.9))
def test_one_cycle_is_pytorchs(steps: int, warmup: float) -> None:
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=steps,
        pct_start=warmup,
        div_factor=10,
        final_div_factor=1000,
    )
    for step in range(steps):
        group = optimizer.param_groups[0]
        wanted = group["lr"], group["betas"][0]
        assert one_cycle(step, steps, warmup) == pytest.approx(wanted, rel=1e-9)
        optimizer.step()
        if step + 1 < steps:
            theirs.step()


@given(steps=st.integers(1, 40), warmup=st.floats(0, 0.99))
def test_one_cycle_stays_in_bounds_however_short_the_run(steps: int, warmup: float) -> None:
    for step in range(steps):
        factor, beta = one_cycle(step, steps, warmup)
        assert 0 < factor <= 1 + 1e-12
        assert 0.85 - 1e-12 <= beta <= 0.95 + 1e-12


def test_a_cosine_is_slow_at_both_ends_and_a_ramp_is_straight() -> None:
    values = [cosine(step, 100, (0.04, 0.2)) for step in (0, 10, 50, 90, 100)]
    assert values == pytest.approx([0.04, 0.0439, 0.12, 0.1961, 0.2], abs=1e-4)
    values = [ramp(step, 100, (0.1, 0.4), 0.1) for step in (0, 5, 10, 99)]
    assert values == pytest.approx([0.1, 0.25, 0.4, 0.4])
