"""When a pass over data of which some cannot be read goes on, and when it ends."""

from __future__ import annotations

import pytest

from concerto import InputError
from concerto.training.translation.one_pass import check_broken


@pytest.mark.parametrize(
    ("broken", "drawn", "samples"),
    [
        (30, 32, 3000),  # a scene's samples, which lie together
        (1, 1, 3000),  # the first, read by itself
        (1, 10, 10),
        (150, 3000, 3000),
    ],
)
def test_some_broken_samples_are_left_out(broken: int, drawn: int, samples: int) -> None:
    check_broken(broken, drawn, samples)


@pytest.mark.parametrize(
    ("broken", "drawn", "samples"), [(20, 20, 3000), (3, 3, 3), (151, 400, 3000), (2, 24, 30)]
)
def test_more_than_a_twentieth_of_all_or_nothing_but_broken_ones_end_it(
    broken: int, drawn: int, samples: int
) -> None:
    with pytest.raises(InputError, match="something is wrong with the data as a whole"):
        check_broken(broken, drawn, samples)
