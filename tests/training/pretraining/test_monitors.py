"""Warnings of a collapse, from the monitors of each step."""

import pytest

from concerto.training.pretraining.monitors import CollapseWatch

HEALTHY = {"feature_rank": 40.0, "prototype_use": 0.8, "agreement": 0.5}


def read_often(watch: CollapseWatch, values: dict[str, float], times: int = 50) -> list[str]:
    """All messages of many such steps."""
    return [message for _ in range(times) for message in watch.read(values)]


def test_a_healthy_run_and_one_that_improves_are_left_in_peace() -> None:
    watch = CollapseWatch()
    for step in range(100):
        assert watch.read({name: value * (1 + step / 100) for name, value in HEALTHY.items()}) == []


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"feature_rank": 1.2}, "--lr"),
        ({"prototype_use": 0.01}, "--objective.prototypes"),
        ({"agreement": 0.01}, "--schedules.momentum"),
    ],
)
def test_each_trouble_names_its_likely_cause_once(change: dict[str, float], cause: str) -> None:
    watch = CollapseWatch()
    assert read_often(watch, HEALTHY) == []
    (message,) = read_often(watch, HEALTHY | change)
    assert cause in message


def test_a_fall_of_the_rank_is_told_though_it_is_still_high() -> None:
    watch = CollapseWatch()
    read_often(watch, HEALTHY)
    (message,) = read_often(watch, HEALTHY | {"feature_rank": 8.0})
    assert "directions, after 40.0 at best" in message


def test_one_odd_batch_is_no_collapse() -> None:
    watch = CollapseWatch()
    read_often(watch, HEALTHY)
    assert watch.read(dict.fromkeys(HEALTHY, 0.0)) == []
    assert read_often(watch, HEALTHY) == []


def test_a_trouble_is_told_again_after_it_was_gone() -> None:
    watch, bad = CollapseWatch(), HEALTHY | {"prototype_use": 0.0}
    counts = [len(read_often(watch, values)) for values in (HEALTHY, bad, HEALTHY, bad)]
    assert counts == [0, 1, 0, 1]


def test_a_resumed_watch_reads_on_as_if_it_had_never_stopped() -> None:
    watch, resumed = CollapseWatch(), CollapseWatch()
    read_often(watch, HEALTHY)
    resumed.load_state(watch.state())
    bad = HEALTHY | {"feature_rank": 8.0}
    assert [watch.read(bad) for _ in range(50)] == [resumed.read(bad) for _ in range(50)]
