import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from concerto.errors import ConcertoWarning, MissingExtraError
from concerto.training.run.loop import LoopConfig
from concerto.training.run.metrics import (
    METRICS_FILE,
    Window,
    append_metrics,
    forget_after,
    read_metrics,
)
from concerto.training.run.tracking import Progress
from toys import Crash, ToyTask, crash_after, run_toy


@pytest.fixture
def config(tmp_path: Path) -> LoopConfig:
    return LoopConfig(tmp_path / "run", 8, max_steps=11, save_every=3, log_every=4, tracker="none")


def test_a_tracker_that_is_absent_is_told_before_any_work(
    config: LoopConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install wandb"):
        run_toy(replace(config, tracker="wandb"))
    assert not config.output.exists()


def test_each_step_is_on_the_tracker_once_after_a_resume(config: LoopConfig) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(config, tracker="tensorboard", log_every=1)
    with pytest.raises(Crash):
        run_toy(config, task=crash_after(8))
    run_toy(replace(config, resume=True))
    events = EventAccumulator(str(config.output / "tensorboard")).Reload()
    logged = [(event.step, event.value) for event in events.Scalars("loss")]
    assert [step for step, _ in logged] == list(range(1, 12))
    wanted = [np.float32(line["loss"]) for line in read_metrics(config.output)]
    assert [value for _, value in logged] == wanted


def test_curves_and_pictures_lie_in_the_folder(config: LoopConfig) -> None:
    run_toy(replace(config, picture_every=10, tracker="tensorboard"))
    assert Image.open(config.output / "curves.png").size[0] > 600
    pictures = sorted(file.name for file in (config.output / "pictures").iterdir())
    assert pictures == ["grey-00000010.png", "grey-00000011.png"]


def test_what_was_logged_says_all_of_a_step(config: LoopConfig) -> None:
    run_toy(replace(config, log_every=100))
    first, last = read_metrics(config.output)
    assert first["step"] == 1
    assert last["step"] == 11
    assert last["epoch"] == 11 * 8 / 40
    assert last["lr"] == pytest.approx(0.01 * (1 - 10 / 11))
    assert 0 <= last["data_wait"] <= 1
    assert {"loss", "size", "grad_norm", "weight_decay", "samples_per_second"} <= last.keys()
    assert json.loads((config.output / "run.json").read_text())["settings"]["task"]["widths"] == [
        8,
        16,
    ]


def test_a_folder_that_cannot_be_logged_to_does_not_stop_the_run(config: LoopConfig) -> None:
    def after(done: int) -> None:
        if done == 2:
            (config.output / "metrics.jsonl").unlink()
            (config.output / "metrics.jsonl").mkdir()

    with pytest.warns(ConcertoWarning, match="Not logged"):
        assert run_toy(config, task=ToyTask(after)).steps == 11


def test_lines_are_read_back_but_for_one_cut_short(tmp_path: Path) -> None:
    append_metrics(tmp_path, {"step": 1, "loss": 0.5})
    append_metrics(tmp_path, {"step": 2, "loss": float("nan")})
    with (tmp_path / METRICS_FILE).open("a") as stream:
        stream.write('{"step": 3, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": "nan"}]
    forget_after(tmp_path, 1)
    assert (tmp_path / METRICS_FILE).read_text() == '{"step": 1, "loss": 0.5}\n'


def test_a_line_cut_short_takes_none_of_those_around_it_with_it(tmp_path: Path) -> None:
    append_metrics(tmp_path, {"step": 1, "loss": 0.5})
    with (tmp_path / METRICS_FILE).open("a") as stream:
        stream.write('{"step')
    append_metrics(tmp_path, {"step": 3, "loss": 0.25})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 3, "loss": 0.25}]


def test_a_line_glued_to_one_cut_short_is_not_read(tmp_path: Path) -> None:
    lines = ['{"step": 1, "loss": 0.5}', '{"step{"step": 3, "loss": 0.25}', '{"step": 4}']
    (tmp_path / METRICS_FILE).write_text("\n".join(lines) + "\n")
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 4}]


def test_the_pace_and_the_time_left_come_from_the_steps_since_the_last_line() -> None:
    window, stream = Window(), io.StringIO()
    for loss in (3.0, 1.0):
        window.add({"loss": loss}, samples=8, seconds=4.0, waited=1.0)
    window.add({}, samples=8, seconds=4.0, waited=1.0)  # skipped
    progress = Progress(0, 903, visible=True, stream=stream)
    progress.step({"loss": 1.0}, window)
    progress.line(3, window.means(), window)
    progress.close()
    assert stream.getvalue() == "step 3/903 loss 2 2 samples/s, data 25% 1:00:00 left\n"


def test_a_terminal_gets_a_bar_and_other_processes_nothing() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for visible in (True, False):
        terminal, window = Terminal(), Window()
        progress = Progress(4, 10, visible, terminal)
        window.add({"loss": 0.25}, 8, 2.0, 1.0)
        progress.step({"loss": 0.25}, window)
        progress.line(5, window.means(), window)
        progress.close()
        shown = terminal.getvalue()
        assert ("5/10" in shown and "loss 0.25 4 samples/s, data 50%" in shown) == visible
        assert "\nstep" not in shown
