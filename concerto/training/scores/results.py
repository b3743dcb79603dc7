"""Scores → a line, a table for a card, and a picture of what is taken for what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concerto.card import cell
from concerto.extras import import_extra
from concerto.files import replacing
from concerto.training.scores.confusion import Confusion, Scores

ABSENT = "n/a"
# Up to so many classes, their shares are written into the picture.
MOST_WRITTEN = 25


def summary(scores: Scores) -> str:
    """One line."""
    return (
        f"mIoU {percent(scores.miou)}  mAcc {percent(scores.macc)}  allAcc {percent(scores.allacc)}"
    )


def markdown(classes: Sequence[str], scores: Scores, about: str) -> str:
    """A table of all classes. about: what was compared, and how."""
    counted = sum(not math.isnan(value) for value in scores.iou)
    means = "all" if counted == len(classes) else f"{counted} of {len(classes)}"
    rows = "\n".join(
        f"| {cell(name)} | {percent(iou)} | {percent(accuracy)} | {points:,} |"
        for name, iou, accuracy, points in zip(
            classes, scores.iou, scores.accuracy, scores.points, strict=True
        )
    )
    return f"""{about}. Percent; means over {means} classes.

| mIoU | mAcc | allAcc |
|---|---|---|
| {percent(scores.miou)} | {percent(scores.macc)} | {percent(scores.allacc)} |

| class | IoU | accuracy | points |
|---|---|---|---|
{rows}
"""


def percent(share: float) -> str:
    """62.3 for 0.623."""
    return ABSENT if math.isnan(share) else f"{100 * share:.1f}"


def draw_confusion(file: Path, classes: Sequence[str], confusion: Confusion) -> None:
    """Draw which share of each true class is taken for which.

    Raises MissingExtraError without matplotlib, InputError where it cannot be written.
    """
    figures = import_extra("matplotlib.figure", "Pictures of confusion", "train")
    counts = confusion.matrix.astype(float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.32 * len(classes)
    figure = figures.Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(classes) <= MOST_WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                color = "white" if share > 0.5 else "black"
                text = f"{100 * share:.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, shrink=0.7)
    with replacing(file) as path:
        figure.savefig(path, dpi=110)
