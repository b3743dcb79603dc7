"""Scores are those of torchmetrics, and say nothing of what does not occur."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from concerto.training.scores.confusion import Confusion


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_those_of_torchmetrics(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    random = np.random.default_rng(seed)
    classes = (3, 7, 20, 5)[seed]
    # Of the last classes some occur in prediction alone, or nowhere.
    truth = random.integers(-1, max(2, classes - 2), 5000)
    predicted = random.integers(0, max(2, classes - 1), 5000)
    confusion = Confusion(classes)
    for part in np.array_split(np.arange(5000), 3):
        confusion.add(truth[part], predicted[part])
    scores = confusion.scores()
    # It would count in integers and divide in single precision.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    options = {"num_classes": classes, "ignore_index": -1, "validate_args": False}
    given = torch.from_numpy(predicted), torch.from_numpy(truth)
    for name, value, average in (
        ("MulticlassJaccardIndex", scores.miou, "macro"),
        ("MulticlassAccuracy", scores.macc, "macro"),
        ("MulticlassAccuracy", scores.allacc, "micro"),
    ):
        metric = getattr(classification, name)(average=average, **options)
        metric.update(*given)
        assert value == pytest.approx(metric.compute().item(), abs=1e-9), name


def test_a_class_that_does_not_occur_is_not_counted_and_one_skipped_is_not_either() -> None:
    confusion = Confusion(4)
    confusion.add([0, 0, 1, 1, -1], [0, 0, 1, 0, 3])
    scores = confusion.scores()
    assert scores.iou[:2] == pytest.approx((2 / 3, 1 / 2))
    assert all(math.isnan(value) for value in (*scores.iou[2:], *scores.accuracy[2:]))
    assert scores.miou == pytest.approx(7 / 12)
    assert (scores.macc, scores.allacc) == pytest.approx((3 / 4, 3 / 4))
    assert scores.points == (2, 2, 0, 0)
    assert confusion.scores(skip=[0]).miou == pytest.approx(1 / 2)
    assert math.isnan(Confusion(2).scores().miou)
