"""Numbers that tell a collapse, and the warnings made of them."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from concerto.training.monitors import (
    CollapseWatch,
    Health,
    agreement,
    effective_rank,
    measure,
    prototype_entropies,
)

HEALTHY = Health(feature_rank=40.0, prototype_use=0.8, row_entropy=0.5, agreement=0.9)


@given(directions=st.integers(1, 24), scale=st.floats(1e-3, 1e3))
def test_rank_counts_equal_directions_whatever_their_scale_and_mean(
    directions: int, scale: float
) -> None:
    basis = torch.eye(24, dtype=torch.float64)[:directions]
    rows = torch.cat([basis, -basis]) * scale + 5
    assert effective_rank(rows) == pytest.approx(directions, rel=1e-5)


def test_rank_of_more_rows_than_channels_and_of_fewer_agree() -> None:
    rows = torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([rows, rows])  # the same directions, now more rows than channels
    assert effective_rank(padded) == pytest.approx(effective_rank(rows), rel=1e-6)


def test_rank_of_constant_features_is_zero_and_of_broken_ones_nan() -> None:
    assert effective_rank(torch.ones(10, 4)) == 0
    assert math.isnan(effective_rank(torch.full((10, 4), torch.inf)))


def test_entropies_tell_few_prototypes_from_undecided_rows() -> None:
    one_for_all = torch.zeros(8, 4)
    one_for_all[:, 0] = 100
    one_each = 100 * torch.eye(4)
    assert prototype_entropies(one_for_all, 1.0) == pytest.approx((0, 0), abs=1e-6)
    assert prototype_entropies(one_each, 1.0) == pytest.approx((1, 0), abs=1e-6)
    assert prototype_entropies(torch.zeros(8, 4), 1.0) == pytest.approx((1, 1))


def test_agreement_is_the_cosine_of_rows() -> None:
    rows = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    assert agreement(rows, 3 * rows) == pytest.approx(1)
    assert agreement(rows, -rows) == pytest.approx(-1)


def test_random_weights_are_healthy() -> None:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(300, 32, generator=random)
    health = measure(
        rows,
        rows @ torch.randn(32, 64, generator=random),
        4.0,
        rows,
        rows + 0.1 * torch.randn(300, 32, generator=random),
    )
    assert CollapseWatch().read(health) == []


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"feature_rank": 1.2}, "learning rate"),
        ({"prototype_use": 0.01}, "few prototypes"),
        ({"row_entropy": 0.999}, "temperature that is too high"),
        ({"agreement": 0.0}, "momentum"),
        ({"feature_rank": math.nan}, "half precision"),
    ],
)
def test_each_trouble_names_its_likely_cause(change: dict[str, float], cause: str) -> None:
    (message,) = CollapseWatch().read(replace(HEALTHY, **change))
    assert cause in message


def test_a_fall_of_the_rank_is_told_though_it_is_still_high() -> None:
    watch = CollapseWatch()
    assert watch.read(HEALTHY) == []
    (message,) = watch.read(replace(HEALTHY, feature_rank=8.0))
    assert "8.0 directions, after 40.0" in message


def test_a_trouble_is_told_once_until_it_is_gone() -> None:
    watch, bad = CollapseWatch(), replace(HEALTHY, agreement=0.0)
    counts = [len(watch.read(health)) for health in (bad, bad, HEALTHY, bad)]
    assert counts == [1, 0, 0, 1]
