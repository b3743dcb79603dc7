"""Values that change over a run."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from concerto import ConfigError
from concerto.training.schedules import PretrainSchedules, cosine, one_cycle, ramp


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


def test_the_task_is_as_hard_as_published_at_its_start_and_after_five_percent() -> None:
    schedules = PretrainSchedules()
    first, later = schedules.settings(0, 1000), schedules.settings(50, 1000)
    assert (first.teacher_temperature, first.mask_size, first.mask_ratio) == (0.04, 0.1, 0.3)
    assert (later.teacher_temperature, later.mask_size, later.mask_ratio) == (0.07, 0.4, 0.7)
    assert schedules.settings(999, 1000) == later


def test_the_rate_starts_at_a_tenth_and_the_decay_grows() -> None:
    schedules = PretrainSchedules()
    first, last = schedules.rates(0, 1000), schedules.rates(999, 1000)
    assert first.lr_factor == pytest.approx(0.1)
    assert first.weight_decay == pytest.approx(0.04)
    assert last.lr_factor == pytest.approx(1e-4)
    assert last.weight_decay == pytest.approx(0.2, abs=1e-5)


def test_a_warm_up_is_a_share() -> None:
    with pytest.raises(ConfigError, match="share of all steps"):
        PretrainSchedules(warmup=5)


@pytest.mark.parametrize(
    ("name", "ends", "reason"),
    [
        ("momentum", (0.994, 1.01), r"momentum is 0\.994, 1\.01; both must be shares, in \[0, 1\]"),
        ("momentum", (-0.1, 1.0), "momentum is -0.1, 1"),
        ("mask_ratio", (0.3, 70.0), "mask_ratio is 0.3, 70; both must be shares"),
        ("mask_size", (0.0, 0.4), "mask_size is 0, 0.4; both must be over 0"),
        ("teacher_temperature", (0.04, 0.0), "teacher_temperature is 0.04, 0; both must be over 0"),
        ("teacher_temperature", (math.nan, 0.07), "teacher_temperature is nan, 0.07"),
        ("weight_decay", (-0.04, 0.2), "weight_decay is -0.04, 0.2; both must be at least 0"),
    ],
)
def test_values_out_of_range_are_refused_by_name(
    name: str, ends: tuple[float, float], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        replace(PretrainSchedules(), **{name: ends})


def test_the_ends_of_the_ranges_are_values_too() -> None:
    PretrainSchedules(warmup=0.0, momentum=(0.0, 1.0), mask_ratio=(0.0, 1.0), weight_decay=(0, 0))
