"""Where a run shows itself: a bar or lines on the terminal, its folder, and a tracker's page.

All of it happens on the main process, and none of it can stop a run: what cannot be written is
told once and left.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from PIL import Image

from concerto.errors import ConcertoWarning, MissingExtraError
from concerto.training.run.metrics import Window, append_metrics, draw_curves

if TYPE_CHECKING:
    from accelerate import Accelerator

PROJECT = "concerto"
PICTURES_FOLDER = "pictures"
SHOWN = 6
_INSTALL = {
    "tensorboard": "pip install 'concerto-3d[train]'",
    "wandb": "pip install wandb",
    "trackio": "pip install trackio",
}


def require_tracker(name: str) -> None:
    """Raise MissingExtraError where a tracker's package is absent."""
    from importlib.util import find_spec

    if name in _INSTALL and find_spec(name) is None:
        raise MissingExtraError(
            f"Logging to {name} needs its package: {_INSTALL[name]}. Or log to the run's folder "
            "alone, with --tracker none."
        )


class Tracking:
    """The logs of one run, from a step on. Silent where the process is not the main one."""

    def __init__(
        self, accelerator: Accelerator, run: Path, tracker: str, name: str, step: int
    ) -> None:
        """name: by which a tracker's page knows the run again. step: how many are done."""
        self._accelerator = accelerator
        self._run = run
        self._told: set[str] = set()
        self._drawn = time.monotonic()
        options = {
            "tensorboard": {"purge_step": step + 1},
            "wandb": {"id": name, "name": run.name, "dir": str(run), "resume": "allow"},
            "trackio": {"name": name, "resume": "allow"},
        }
        # TensorBoard's files go into a folder of the project's name.
        project = "tensorboard" if tracker == "tensorboard" else PROJECT
        accelerator.init_trackers(project, init_kwargs=options)

    def log(self, entry: Mapping[str, Any]) -> None:
        """Log the numbers of a step, entry["step"]."""
        if not self._accelerator.is_main_process:
            return
        numbers = {key: value for key, value in entry.items() if key != "step"}
        self._try(lambda: append_metrics(self._run, entry))
        self._try(lambda: self._accelerator.log(numbers, step=entry["step"]))

    def skipped(self, step: int, what: str, samples: list[str]) -> None:
        """Log and tell that a step was left out, and of which samples it was."""
        if self._accelerator.is_main_process:
            told = f"Step {step} is skipped: {what}; samples {', '.join(samples) or 'unnamed'}."
            warnings.warn(told, ConcertoWarning, stacklevel=4)
            entry = {"step": step, "skipped_for": what, "samples": samples}
            self._try(lambda: append_metrics(self._run, entry))

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Keep pictures (H, W, 3) uint8 in the run's folder, and show them."""
        if not self._accelerator.is_main_process:
            return
        for name, picture in pictures.items():
            self._try(partial(self._picture, step, name, picture))

    def curves(self) -> None:
        """Draw the curves anew, where the last ones are not of this minute."""
        if self._accelerator.is_main_process and time.monotonic() - self._drawn > 60:
            self._try(lambda: draw_curves(self._run))
            self._drawn = time.monotonic()

    def close(self) -> None:
        """The run is over: draw the curves to their end, and tell the trackers."""
        self._drawn = -math.inf
        self.curves()
        for tracker in self._accelerator.trackers:
            self._try(tracker.finish)

    def _picture(self, step: int, name: str, picture: np.ndarray) -> None:
        folder = self._run / PICTURES_FOLDER
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / f"{name}-{step:08d}.png")
        for tracker in self._accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({name: picture[None]}, step=step, dataformats="NHWC")
            elif tracker.name == "wandb":
                tracker.log_images({name: [picture]}, step=step)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # a tracker may raise anything, and is not worth a run
            told = f"Not logged: {type(error).__name__}: {error}"
            if told not in self._told:
                self._told.add(told)
                warnings.warn(told, ConcertoWarning, stacklevel=3)


class Progress:
    """How far a run is: a bar on a terminal, a line for each logged step elsewhere."""

    def __init__(self, step: int, total: int, visible: bool, stream: TextIO | None = None) -> None:
        from tqdm import tqdm

        self._total = total
        self._stream = stream or sys.stderr
        self._lines = visible and not self._stream.isatty()
        # On a terminal tqdm estimates the time left, from the pace of the last steps.
        self._bar: Any = tqdm(
            total=total,
            initial=step,
            file=self._stream,
            unit="step",
            dynamic_ncols=True,
            disable=not visible or self._lines,
        )

    def step(self, values: Mapping[str, float], window: Window) -> None:
        """One more step is done. values: of this step; window: the pace since the last line."""
        self._bar.set_postfix_str(f"{_losses(values)} {_pace(window)}", refresh=False)
        self._bar.update()

    def line(self, step: int, values: Mapping[str, float], window: Window) -> None:
        """Where there is no terminal, say how it goes. values: means over the window."""
        if not self._lines:
            return
        left = timedelta(seconds=round((self._total - step) * window.seconds / window.steps))
        said = f"step {step}/{self._total} {_losses(values)} {_pace(window)} {left} left"
        print(said, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the terminal as it is."""
        self._bar.close()


def _losses(values: Mapping[str, float]) -> str:
    """The loss, and what stands first beside it: a terminal's line has no room for all."""
    return " ".join(f"{name} {value:.4g}" for name, value in list(values.items())[:SHOWN])


def _pace(window: Window) -> str:
    seconds = max(window.seconds, 1e-9)
    return f"{window.samples / seconds:.3g} samples/s, data {window.waited / seconds:.0%}"
