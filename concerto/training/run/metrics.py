"""What a run logged: `metrics.jsonl`, one JSON object a line, and the picture of it.

A line with "loss" holds the means since the line before; one with "skipped_for" tells of a
step that was left out, and of which samples. Lines cut short, by a kill or a full disk, are not
read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from concerto.extras import import_extra
from concerto.files import replacing, write_text

METRICS_FILE = "metrics.jsonl"
CURVES_FILE = "curves.png"
_AXES = ("step", "epoch")


@dataclass
class Window:
    """Sums over the steps since the last line. seconds, waited: all of them, and for data."""

    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, values: Mapping[str, float], samples: int, seconds: float, waited: float) -> None:
        """One more step; values: empty where it was skipped."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.counted += bool(values)
        self.steps += 1
        self.samples += samples
        self.seconds += seconds
        self.waited += waited

    def means(self) -> dict[str, float]:
        """The mean of each value over the steps that were not skipped."""
        return {name: total / self.counted for name, total in self.sums.items()}


def append_metrics(run: Path, entry: Mapping[str, Any]) -> None:
    """Add a line. Numbers that are not finite become text, as JSON has none. Raises OSError."""
    plain = {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in entry.items()
    }
    with (run / METRICS_FILE).open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            # A line that was cut short must not take this one with it.
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(plain).encode() + b"\n")


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Everything logged so far, in order; nothing where there is no file."""
    file = run / METRICS_FILE
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [entry for line in lines if (entry := _entry(line)) is not None]


def forget_after(run: Path, step: int) -> None:
    """Drop the lines of later steps, which a resumed run writes anew."""
    kept = [entry for entry in read_metrics(run) if entry["step"] <= step]
    write_text(run / METRICS_FILE, "".join(json.dumps(entry) + "\n" for entry in kept))


def draw_curves(run: Path, folder: Path | None = None) -> None:
    """Draw every number that a run logged against the step, as `curves.png`, in the run's folder or
    another; nothing where there is none.

    Raises MissingExtraError without matplotlib, InputError where it cannot be written.
    """
    figures = import_extra("matplotlib.figure", "Curves", "train")
    entries = [entry for entry in read_metrics(run) if "loss" in entry]
    if not entries:
        return
    names = [name for name in entries[0] if name not in _AXES]
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = figures.Figure(figsize=(4 * columns, 2.4 * rows))
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, place)
        steps, values = _series(entries, name)
        axes.plot(steps, values, linewidth=1, marker="." if len(steps) < 30 else None)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=5)
        axes.locator_params(axis="x", integer=True)
        axes.grid(alpha=0.3)
    edge = 0.45  # inches, for the labels
    figure.subplots_adjust(
        *(edge / (4 * columns), edge / (2.4 * rows), 0.98, 1 - 0.3 / (2.4 * rows)),
        wspace=0.2,
        hspace=0.35,
    )
    with replacing((folder or run) / CURVES_FILE) as path:
        figure.savefig(path, dpi=110)


def _entry(line: str) -> dict[str, Any] | None:
    """What a line says; None where it is not whole."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _series(entries: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """The finite values of a name, and their steps."""
    points = [
        (int(entry["step"]), float(entry[name]))
        for entry in entries
        if isinstance(entry.get(name), (int, float))
    ]
    return [step for step, _ in points], [value for _, value in points]
