"""How well classes are told apart: a table of true against predicted, and what is read off it.

mIoU, mAcc and allAcc as segmentation benchmarks have them, over all points together: counts are
added up scene by scene, and the ratios taken once at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


class Confusion:
    """Counts of points: matrix (K, K) int64, row the true class, column the predicted one."""

    def __init__(self, classes: int) -> None:
        self.matrix = np.zeros((classes, classes), np.int64)

    def add(self, truth: ArrayLike, predicted: ArrayLike) -> None:
        """Count points by their classes, (n,) integers each; those of truth -1 are left out.

        predicted: in 0 … K - 1 where there is a truth.
        """
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        classes = len(self.matrix)
        pair = truth.astype(np.int64) * classes + predicted
        counts = np.bincount(pair[truth >= 0], minlength=classes * classes)
        self.matrix += counts.reshape(classes, classes)

    def scores(self, skip: Sequence[int] = ()) -> Scores:
        """What is read off. skip: classes to leave out of the means, as those never trained."""
        hit = self.matrix.diagonal().astype(float)
        truth, predicted = self.matrix.sum(1).astype(float), self.matrix.sum(0).astype(float)
        # A class that nobody has and nobody predicts is neither right nor wrong.
        counted = truth + predicted > 0
        counted[list(skip)] = False
        iou = _ratio(hit, truth + predicted - hit, counted)
        accuracy = _ratio(hit, truth, counted)
        points = truth.sum()
        return Scores(
            miou=_mean(iou),
            macc=_mean(accuracy),
            allacc=float(hit.sum() / points) if points else float("nan"),
            iou=tuple(iou.tolist()),
            accuracy=tuple(accuracy.tolist()),
            points=tuple(int(count) for count in truth),
        )


@dataclass(frozen=True)
class Scores:
    """Shares in 0-1. miou, macc: means over classes that occur, in truth or prediction. allacc:
    of all points. iou, accuracy: of each class, NaN where it is left out of the means. points: of
    each class in truth."""

    miou: float
    macc: float
    allacc: float
    iou: tuple[float, ...]
    accuracy: tuple[float, ...]
    points: tuple[int, ...]


def _ratio(part: np.ndarray, whole: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """part / whole, 0 where both are 0, NaN where not counted."""
    ratio = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return np.where(counted, ratio, np.nan)


def _mean(values: np.ndarray) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else float("nan")
