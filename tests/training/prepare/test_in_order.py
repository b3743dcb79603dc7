"""Work shared by processes."""

from __future__ import annotations

import os
import signal

import pytest

from concerto.errors import TrainingError
from concerto.training.prepare.in_order import in_order


def doubled(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_what_was_asked(workers: int) -> None:
    assert list(in_order(doubled, range(20), workers)) == list(range(0, 40, 2))


def test_a_killed_process_is_told_with_what_to_do() -> None:
    with pytest.raises(TrainingError, match=r"of 2 processes was killed.*fewer --workers"):
        list(in_order(doubled, [1, 2, -1, 3], 2))
