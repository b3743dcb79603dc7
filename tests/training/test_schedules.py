"""Values that change over a run."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from concerto.training.schedules import END, START, cosine, one_cycle, ramp


@settings(deadline=None)
@given(steps=st.integers(2, 400), warmup=st.floats(0.01, 0.9))
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
        ours = one_cycle(step, steps, warmup)
        # PyTorch's first phase ends before it begins where it has less than one step.
        if warmup * steps >= 1:
            group = optimizer.param_groups[0]
            assert ours.lr_factor == pytest.approx(group["lr"], rel=1e-9)
            assert ours.betas == pytest.approx(group["betas"], rel=1e-9)
        assert END * (1 - 1e-9) <= ours.lr_factor <= 1
        optimizer.step()
        if step + 1 < steps:
            theirs.step()


def test_one_cycle_rises_from_a_tenth_and_ends_at_a_ten_thousandth() -> None:
    factors = [one_cycle(step, 100, 0.05).lr_factor for step in range(100)]
    assert factors[0] == pytest.approx(START)
    assert max(factors) == factors[4] == 1
    assert factors[-1] == pytest.approx(END)


def test_cosine_goes_from_end_to_end_and_is_half_way_in_the_middle() -> None:
    assert cosine(0, 100, (0.04, 0.2)) == pytest.approx(0.04)
    assert cosine(50, 100, (0.04, 0.2)) == pytest.approx(0.12)
    assert cosine(100, 100, (0.04, 0.2)) == pytest.approx(0.2)


def test_ramp_rises_over_the_warm_up_and_stays() -> None:
    values = [ramp(step, 100, (0.1, 0.4), 0.05) for step in (0, 1, 5, 50)]
    assert values == pytest.approx([0.1, 0.16, 0.4, 0.4])
    assert ramp(0, 100, (0.1, 0.4), 0.0) == 0.4
