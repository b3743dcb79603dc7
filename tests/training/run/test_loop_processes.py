"""What happens to runs in processes of their own: signals, kills, groups, shards."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from concerto.training.run.checkpointing import list_checkpoints, step_of
from concerto.training.run.loop import LoopConfig
from concerto.training.run.metrics import read_metrics
from toys import Plan, ToyProcess, group, run_toy, same_state, same_story


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of forks starts with this environment, and finds the toys by it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    paths = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


@pytest.fixture
def config(tmp_path: Path) -> LoopConfig:
    return LoopConfig(tmp_path / "run", 8, max_steps=11, save_every=3, log_every=1, tracker="none")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    output = tmp_path_factory.mktemp("whole") / "run"
    plan = Plan(LoopConfig(output, 8, max_steps=11, save_every=3, log_every=1, tracker="none"))
    assert ToyProcess(plan).end() == 0
    return output


def latest(run: Path) -> int:
    return step_of(list_checkpoints(run)[-1])


@pytest.mark.parametrize(
    ("number", "worker"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGTERM, True)],
)
def test_a_signal_to_the_run_and_its_workers_saves_and_ends_and_the_run_resumes(
    config: LoopConfig, whole: Path, number: int, worker: bool
) -> None:
    plan = Plan(config, worker=worker)
    run = ToyProcess(replace(plan, pause_after=(4,)))
    assert run.hear() == "after 4"
    run.signal_all(number)
    run.go_on()
    assert run.end() == 128 + number
    assert latest(config.output) in (4, 5)
    assert ToyProcess(replace(plan, config=replace(config, resume=True))).end() == 0
    assert same_state(config.output, whole)
    assert same_story(config.output, whole)


def test_a_second_interrupt_ends_at_once(config: LoopConfig) -> None:
    run = ToyProcess(Plan(config, pause_after=(4, 4)))
    assert run.hear() == "after 4"
    run.signal(signal.SIGINT)
    run.go_on()
    assert run.hear() == "after 4"
    run.signal(signal.SIGINT)
    assert run.end() == 1  # KeyboardInterrupt, in the middle of a step
    assert latest(config.output) == 3


def test_kills_lose_nothing_but_the_steps_since_the_last_checkpoint(
    config: LoopConfig, whole: Path
) -> None:
    checkpoints = config.output / "checkpoints"
    for resume, step, kept in ((False, 2, []), (True, 4, [3]), (True, 8, [3, 6])):
        run = ToyProcess(Plan(replace(config, resume=resume), pause_after=(step,)))
        assert run.hear() == f"after {step}"
        run.signal(signal.SIGKILL)
        assert run.end() == -signal.SIGKILL
        assert [step_of(file) for file in list_checkpoints(config.output)] == kept
    for _ in range(2):
        run = ToyProcess(Plan(replace(config, resume=True), half_save=True))
        assert run.hear() == "half"
        run.signal(signal.SIGKILL)
        assert run.end() == -signal.SIGKILL
        assert latest(config.output) == 6
        assert len(list(checkpoints.glob(".*"))) == 1
    assert ToyProcess(Plan(replace(config, resume=True))).end() == 0
    assert not list(checkpoints.glob(".*"))
    assert same_state(config.output, whole)
    assert same_story(config.output, whole)


def test_a_group_skips_saves_and_ends_together_and_resumes_bit_for_bit(
    config: LoopConfig, tmp_path: Path
) -> None:
    plan = Plan(config, bad=(2,))
    unbroken = replace(plan, config=replace(config, output=tmp_path / "whole"))
    assert [one.end() for one in group(unbroken)] == [0, 0]
    first, second = group(replace(plan, pause_after=(5,)))
    assert (first.hear(), second.hear()) == ("after 5", "after 5")
    second.signal(signal.SIGTERM)  # to one of them alone
    first.go_on()
    second.go_on()
    assert (first.end(), second.end()) == (143, 143)
    again = replace(plan, config=replace(config, resume=True))
    assert [one.end() for one in group(again)] == [0, 0]
    assert same_state(config.output, tmp_path / "whole")
    assert same_story(config.output, tmp_path / "whole")
    (bad,) = [line for line in read_metrics(config.output) if "samples" in line]
    # The first process has the first half of each batch, and the bad sample in it.
    assert bad["samples"] == ["sample-2-0", "sample-2-1", "sample-2-2", "sample-2-3"]


def test_data_that_fail_on_one_process_end_all_with_a_checkpoint(config: LoopConfig) -> None:
    assert [one.end() for one in group(Plan(config, fail_at=4, fail_rank=1))] == [1, 1]
    assert latest(config.output) == 4


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_shards_train_as_copies_do_and_go_on_with_any_number_of_processes(
    config: LoopConfig, tmp_path: Path, precision: Literal["no", "bf16"]
) -> None:
    copies = replace(config, output=tmp_path / "copies", clip_norm=0.5, precision=precision)
    shards = replace(copies, output=config.output)
    assert [one.end() for one in group(Plan(copies, bad=(2,)))] == [0, 0]
    assert [one.end() for one in group(Plan(shards, bad=(2,), shard=True, fail_at=7))] == [1, 1]
    assert latest(config.output) == 7
    again = Plan(replace(shards, resume=True), bad=(2,), shard=True)
    assert [one.end() for one in group(again)] == [0, 0]
    one, two = (
        np.array(
            [
                (line["step"], line["loss"], line["grad_norm"])
                for line in read_metrics(run)
                if "loss" in line
            ]
        )
        for run in (copies.output, shards.output)
    )
    np.testing.assert_allclose(one, two, rtol=1e-5)
    longer = replace(shards, max_steps=13, resume=True, allow_changes=True)
    assert run_toy(longer).steps == 13  # one process, from the shards of two
