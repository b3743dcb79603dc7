"""One seed a sample and epoch: fixed for all time, in range, and different everywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concerto.training.scenes.seeds import sample_seed

integers = st.integers(0, 2**63 - 1)


@given(integers, integers, integers)
def test_a_seed_fits_a_nonnegative_int64(seed: int, epoch: int, index: int) -> None:
    assert 0 <= sample_seed(seed, epoch, index) < 2**63


def test_seeds_of_a_run_all_differ() -> None:
    small = itertools.product(range(10), range(20), range(500))
    assert len({sample_seed(*key) for key in small}) == 10 * 20 * 500


def test_seed_epoch_and_index_are_not_exchangeable() -> None:
    assert len({sample_seed(*key) for key in itertools.permutations((1, 2, 3))}) == 6


def test_a_run_can_be_resumed_years_later() -> None:
    """The values are part of every checkpoint's promise to resume exactly."""
    assert sample_seed(0, 0, 0) == 1279368494785126216
    assert sample_seed(1, 2, 3) == 3851293329796251419


@pytest.mark.parametrize("changed", range(3))
@given(integers, integers, integers, st.integers(0, 62))
def test_one_changed_bit_changes_about_half_of_the_bits(
    changed: int, seed: int, epoch: int, index: int, bit: int
) -> None:
    key = [seed, epoch, index]
    before = sample_seed(*key)
    key[changed] ^= 1 << bit
    assert 8 < (before ^ sample_seed(*key)).bit_count() < 56
