"""What changes over a pretraining run."""

import math
from dataclasses import replace

import pytest

from concerto import ConfigError
from concerto.training.pretraining.schedules import PretrainSchedules


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
