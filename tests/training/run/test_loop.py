import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concerto.errors import (
    CheckpointError,
    ConcertoWarning,
    ConfigError,
    TrainingError,
)
from concerto.training.run import loop
from concerto.training.run.checkpointing import list_checkpoints, read_run_checkpoint, step_of
from concerto.training.run.folder import read_run
from concerto.training.run.loop import LoopConfig, TrainResult, make_accelerator, train
from concerto.training.run.metrics import read_metrics
from concerto.training.run.optimizer import Optimizer
from concerto.training.scenes.seeds import sample_seed
from toys import Crash, ToyBatch, ToyTask, crash_after, run_toy, same_state, same_story, toy_batches


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest of these runs."""
    monkeypatch.setattr("concerto.training.run.tracking.draw_curves", lambda run: None)


@pytest.fixture
def config(tmp_path: Path) -> LoopConfig:
    return LoopConfig(tmp_path / "run", 8, max_steps=11, save_every=3, log_every=4, tracker="none")


def test_a_run_is_the_plain_loop_that_it_stands_for(config: LoopConfig) -> None:
    task = ToyTask()
    run_toy(replace(config, clip_norm=0.5), task=task)
    plain, batches = ToyTask(), toy_batches(8)(0)
    groups = plain.parameter_groups()
    optimizer = Optimizer(groups)
    for step in range(11):
        rates = plain.rates(step, 11)
        for own, group in zip(groups, optimizer.param_groups, strict=True):
            group.update(lr=own.lr * rates.lr_factor, betas=rates.betas)
            group["weight_decay"] = own.decay * rates.weight_decay
        torch.manual_seed(sample_seed(0, step, 0))
        plain.forward(plain.module, next(batches), step, 11).loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.module.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        plain.after_step(step, 11, {})
    wanted = plain.module.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in task.module.state_dict().items())


def test_a_step_of_several_passes_has_the_gradient_of_their_mean_loss(config: LoopConfig) -> None:
    task = ToyTask()
    task.module.student[2] = torch.nn.Identity()  # dropout would draw anew in each pass
    run_toy(replace(config, accumulate=4, log_every=1, max_steps=1), task=task)
    plain, batches = ToyTask(), toy_batches(2)(0)
    plain.module.student[2] = torch.nn.Identity()
    loss = torch.stack([plain.forward(plain.module, next(batches), 0, 1).loss for _ in range(4)])
    loss.mean().backward()
    norm = torch.nn.utils.get_total_norm(
        [p.grad for p in plain.module.parameters() if p.grad is not None]
    )
    (line,) = read_metrics(config.output)
    assert line["loss"] == pytest.approx(loss.mean().item(), rel=1e-6)
    assert line["grad_norm"] == pytest.approx(float(norm), rel=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_crashed_and_resumed_is_the_run_that_did_not(
    config: LoopConfig, tmp_path: Path, accumulate: int
) -> None:
    config = replace(config, accumulate=accumulate)
    whole = replace(config, output=tmp_path / "whole")
    run_toy(whole, bad=(5,))
    for step in (2, 5, 8, 10):
        with pytest.raises(Crash):
            run_toy(replace(config, resume=step > 2), bad=(5,), task=crash_after(step))
    task = ToyTask()
    result = run_toy(replace(config, resume=True), bad=(5,), task=task)
    assert result == TrainResult(11, 11)
    assert task.taken == 10  # one step of eleven was skipped
    assert same_state(config.output, whole.output)
    assert same_story(config.output, whole.output)


def test_the_latest_checkpoints_are_kept_and_the_last_step_has_one(config: LoopConfig) -> None:
    run_toy(replace(config, keep=3))
    assert [step_of(file) for file in list_checkpoints(config.output)] == [6, 9, 11]


def test_a_run_that_is_through_resumes_to_nothing(config: LoopConfig) -> None:
    run_toy(config)
    before = list_checkpoints(config.output)[-1].read_bytes()
    assert run_toy(replace(config, resume=True)) == TrainResult(11, 11)
    assert list_checkpoints(config.output)[-1].read_bytes() == before


def test_resuming_a_folder_without_a_run_begins_and_says_so(config: LoopConfig) -> None:
    with pytest.warns(ConcertoWarning, match="beginning anew"):
        assert run_toy(replace(config, resume=True)).steps == 11


def test_a_folder_with_a_run_is_not_overwritten(config: LoopConfig) -> None:
    with pytest.raises(Crash):
        run_toy(config, task=crash_after(2))  # before any checkpoint
    with pytest.raises(ConfigError, match=r"already holds a run\. Go on with it by --resume"):
        run_toy(config)


def test_a_start_that_failed_before_its_first_step_can_be_tried_again(config: LoopConfig) -> None:
    with pytest.raises(Crash):
        run_toy(config, task=crash_after(1))
    assert run_toy(config).steps == 11


def test_other_settings_are_refused_by_name_unless_allowed(config: LoopConfig) -> None:
    run_toy(replace(config, max_steps=5))
    other = replace(config, max_steps=6, seed=1, resume=True)
    with pytest.raises(ConfigError, match=r"loop.seed was 0, is 1; loop.steps was 5, is 6"):
        run_toy(other)
    with pytest.raises(ConfigError, match=r"task.lr was 0.01, is 0.5"):
        run_toy(replace(config, max_steps=5, resume=True), task=ToyTask(lr=0.5))
    with pytest.raises(ConfigError, match=r"loop.samples was 40, is 41"):
        run_toy(replace(config, max_steps=5, resume=True), samples=41)
    with pytest.warns(ConcertoWarning, match="Going on with the new ones"):
        assert run_toy(replace(other, allow_changes=True)).steps == 6
    assert read_run(config.output)["settings"]["loop"]["seed"] == 1


def test_a_run_remembers_which_settings_were_changed_after_which_steps(config: LoopConfig) -> None:
    def changes() -> list[tuple[int, dict[str, Any]]]:
        return [(turn["step"], turn["settings"]) for turn in read_run(config.output)["changes"]]

    config = replace(config, resume=True, allow_changes=True)
    with pytest.raises(Crash):
        run_toy(config, task=crash_after(4))
    assert changes() == []
    with pytest.raises(Crash):
        run_toy(replace(config, seed=1), task=crash_after(5))  # saves nothing after step 3
    with pytest.raises(Crash):
        run_toy(replace(config, seed=2), task=crash_after(7))
    assert changes() == [(3, {"loop.seed": [0, 2]})]
    run_toy(replace(config, seed=2, accumulate=2))
    assert changes() == [(3, {"loop.seed": [0, 2]}), (6, {"loop.accumulate": [1, 2]})]


def test_a_run_from_before_an_option_goes_on_where_the_option_is_off(config: LoopConfig) -> None:
    run_toy(replace(config, max_steps=5))
    file = list_checkpoints(config.output)[-1]
    content = torch.load(file, weights_only=True)
    assert content["settings"]["loop"].pop("clip_norm", "none") is None
    torch.save(content, file)
    assert run_toy(replace(config, max_steps=5, resume=True)).steps == 5
    with pytest.raises(ConfigError, match=r"loop.clip_norm was 'absent', is 1"):
        run_toy(replace(config, max_steps=5, resume=True, clip_norm=1.0))


def test_how_often_to_save_or_log_may_change(config: LoopConfig) -> None:
    with pytest.raises(Crash):
        run_toy(config, task=crash_after(7))
    assert run_toy(replace(config, save_every=1, log_every=1, resume=True)).steps == 11


def test_a_checkpoint_of_another_model_is_refused(config: LoopConfig) -> None:
    run_toy(config)
    task = ToyTask()
    task.module.scale = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(CheckpointError, match="is of another model"):
        run_toy(replace(config, resume=True), task=task)


def test_a_step_without_finite_loss_changes_nothing_and_names_its_samples(
    config: LoopConfig,
) -> None:
    states: list[dict[str, Any]] = []
    task = ToyTask()
    task.after = lambda done: states.append(
        {k: v.clone() for k, v in task.module.state_dict().items()}
    )
    with pytest.warns(
        ConcertoWarning, match=r"Step 3 is skipped: loss nan.* sample-2-0, sample-2-1"
    ):
        run_toy(replace(config, max_steps=3), bad=(2,), task=task)
    end = task.module.state_dict()
    assert len(states) == 2
    assert all(torch.equal(value, end[name]) for name, value in states[-1].items())
    (skipped,) = [line for line in read_metrics(config.output) if "samples" in line]
    assert skipped["step"] == 3
    assert skipped["samples"][0] == "sample-2-0"
    assert read_metrics(config.output)[-1]["skipped"] == 1


def test_only_the_pass_whose_loss_is_not_finite_is_named(config: LoopConfig) -> None:
    run_toy(replace(config, accumulate=2, max_steps=2), bad=(3,))
    (line,) = [line for line in read_metrics(config.output) if "samples" in line]
    assert line["samples"] == ["sample-3-0", "sample-3-1", "sample-3-2", "sample-3-3"]


def test_bad_steps_in_a_row_end_the_run_and_single_ones_do_not(config: LoopConfig) -> None:
    assert run_toy(replace(config, max_bad_steps=2), bad=(1, 3, 5, 7)).steps == 11
    other = replace(config, output=config.output / "other", max_bad_steps=3)
    with pytest.raises(TrainingError, match=r"3 steps in a row .* sample-6-0"):
        run_toy(other, bad=(1, 2, 4, 5, 6))


def test_a_gradient_that_is_not_finite_is_skipped_too(config: LoopConfig) -> None:
    task = ToyTask()
    calls = []

    def explode(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return gradient * math.inf if len(calls) == 2 else gradient

    task.module.scale.register_hook(explode)
    with pytest.warns(ConcertoWarning, match=r"Step 2 is skipped: loss [\d.]+, gradient norm"):
        run_toy(replace(config, max_steps=4), task=task)
    assert task.taken == 3


def test_data_that_fail_or_end_leave_a_checkpoint(config: LoopConfig) -> None:
    with pytest.raises(OSError, match="batch 5 cannot be read"):
        run_toy(config, fail_at=5)
    assert step_of(list_checkpoints(config.output)[-1]) == 5

    def ending(start: int) -> Iterator[ToyBatch]:
        stream = toy_batches(8)(start)
        return (next(stream) for _ in range(start, 7))

    again = replace(config, resume=True)
    with pytest.raises(TrainingError, match="must be endless"):
        train(ToyTask(), ending, again, make_accelerator(again), samples=40)
    assert step_of(list_checkpoints(config.output)[-1]) == 7


def test_a_full_disk_stops_neither_the_run_nor_loses_a_checkpoint(
    config: LoopConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, times = torch.save, []

    def full(content: object, stream: Any) -> None:
        times.append(1)
        if len(times) in (2, 4):
            stream.write(b"half")
            raise OSError(28, "No space left on device")
        save(content, stream)

    monkeypatch.setattr(torch, "save", full)
    with (
        pytest.warns(ConcertoWarning, match=r"No space left.*Training goes on"),
        pytest.raises(CheckpointError, match=r"No space left.*Make room there"),
    ):
        run_toy(config)
    assert [step_of(file) for file in list_checkpoints(config.output)] == [3, 9]
    assert run_toy(replace(config, resume=True)).steps == 11


@pytest.mark.parametrize(
    ("every", "steps"), [(3, [3, 6, 9, 11]), (2, [2, 4, 6, 8, 10, 11]), (20, [11])]
)
def test_a_picture_that_ends_the_process_finds_the_step_saved(
    config: LoopConfig, every: int, steps: list[int]
) -> None:
    class Deadly(ToyTask):
        def pictures(self, step: int) -> dict[str, Any]:
            raise Crash

    config = replace(config, picture_every=every)
    for step in steps:
        with pytest.raises(Crash):
            run_toy(config, task=Deadly())
        assert step_of(list_checkpoints(config.output)[-1]) == step
        config = replace(config, resume=True)
    assert run_toy(config, task=Deadly()).steps == 11


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"accumulate": 0}, "accumulate is 0; it must be an integer from 1 on"),
        ({"accumulate": 2.5}, "accumulate is 2.5; it must be an integer"),
        ({"log_every": 0}, "log_every is 0"),
        ({"save_every": 0}, "save_every is 0"),
        ({"keep": 0}, "keep is 0"),
        ({"picture_every": -1}, "picture_every is -1"),
        ({"max_bad_steps": 0}, "max_bad_steps is 0"),
        ({"epochs": float("nan")}, "epochs is nan; it must be over 0, and end"),
        ({"epochs": float("inf")}, "epochs is inf"),
        ({"epochs": 0.0}, "epochs is 0"),
        ({"clip_norm": -1.0}, "clip_norm is -1; a bound is over 0"),
        ({"clip_norm": 0.0}, "clip_norm is 0"),
    ],
)
def test_values_out_of_range_are_refused_by_name(
    config: LoopConfig, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        replace(config, **change)


def test_numpy_s_integers_are_kept_as_python_s(config: LoopConfig) -> None:
    two = replace(config, accumulate=np.int64(2))
    assert two == replace(config, accumulate=2)
    assert type(two.accumulate) is int
    with pytest.raises(ConfigError, match="must be an integer"):
        replace(config, accumulate=True)


def test_a_batch_that_does_not_divide_and_an_endless_epoch_are_refused(config: LoopConfig) -> None:
    with pytest.raises(ConfigError, match="it must be a multiple of 6"):
        replace(config, accumulate=3).forward_size(2)
    with pytest.raises(ConfigError, match="pass --max-steps"):
        replace(config, max_steps=None).total_steps(None)
    with pytest.raises(ConfigError, match="at least one"):
        replace(config, max_steps=0).total_steps(None)
    assert replace(config, max_steps=None, epochs=2.5).total_steps(15) == 5
    assert replace(config, accumulate=2).forward_size(2) == 2


def test_precision_is_mixed_where_asked_and_refused_where_it_cannot_be(config: LoopConfig) -> None:
    run_toy(replace(config, max_steps=1))
    half = replace(config, output=config.output / "half", max_steps=1, precision="bf16")
    task = ToyTask()
    run_toy(half, task=task)
    full, mixed = read_metrics(config.output)[0]["loss"], read_metrics(half.output)[0]["loss"]
    assert mixed != full
    assert mixed == pytest.approx(full, rel=0.02)
    plain = ToyTask().module  # the module is given back without it
    plain.load_state_dict(task.module.state_dict())
    inputs = torch.randn(4, 8)
    assert torch.equal(
        task.module.eval()(inputs, inputs[:, 0]).loss, plain.eval()(inputs, inputs[:, 0]).loss
    )
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match='on a CPU take "bf16" or "no"'):
            run_toy(replace(config, precision="fp16"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="trains on the GPU")
@pytest.mark.parametrize("known", [True, False])
def test_bfloat16_is_warned_of_where_the_processor_has_no_products_in_it(
    config: LoopConfig, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setattr(loop, "has_products", lambda dtype: known)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_toy(replace(config, max_steps=1, precision="bf16"))
    told = [str(warning.message) for warning in caught]
    assert any("no products in bfloat16" in text for text in told) is not known


def test_a_loss_scale_that_overflows_is_halved_and_kept(config: LoopConfig, tmp_path: Path) -> None:
    def run(config: LoopConfig, task: ToyTask) -> Any:
        accelerator = make_accelerator(config)
        # Accelerate scales losses on GPUs alone; torch can on CPUs.
        accelerator.state._mixed_precision = "fp16"
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=3)
        train(task, toy_batches(8), config, accelerator)
        return accelerator.scaler

    whole = replace(config, output=tmp_path / "whole")
    scaler = run(whole, ToyTask())
    assert 1 <= scaler.get_scale() < 2.0**20
    assert any("skipped_for" in line for line in read_metrics(whole.output))
    with pytest.raises(Crash):
        run(config, crash_after(8))
    assert run(replace(config, resume=True), ToyTask()).state_dict() == scaler.state_dict()
    assert same_state(config.output, whole.output)


def test_checkpoints_hold_nothing_but_tensors_and_plain_values(config: LoopConfig) -> None:
    run_toy(config)
    content = read_run_checkpoint(list_checkpoints(config.output)[-1])
    assert set(content["optimizer"]) == {
        *(f"student.{layer}.{kind}" for layer in (0, 3) for kind in ("weight", "bias")),
        "scale",
    }
    assert content["settings"]["loop"]["steps"] == 11
