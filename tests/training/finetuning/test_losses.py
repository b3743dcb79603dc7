"""The losses of segmentation are what their formulas say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.training.finetuning.losses import cross_entropy, lovasz_softmax


def drawn(points: int = 50, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(-1, classes, (points,), generator=generator)
    return torch.randn(points, classes, generator=generator), labels


def one_minus_iou(wrong: Tensor, truth: Tensor) -> Tensor:
    """wrong, truth: (n,) bool: points got wrong, and points of the class."""
    predicted = truth ^ wrong
    return 1 - (predicted & truth).sum() / (predicted | truth).sum()


def test_cross_entropy_is_the_mean_over_labelled_points() -> None:
    logits, labels = drawn()
    known = labels >= 0
    wanted = F.cross_entropy(logits[known], labels[known])
    torch.testing.assert_close(cross_entropy(logits, labels), wanted)


def test_lovasz_is_one_minus_iou_where_predictions_are_hard() -> None:
    _, labels = drawn()
    predicted = torch.randint(0, 4, labels.shape, generator=torch.Generator().manual_seed(5))
    logits = 1e4 * F.one_hot(predicted, 4).float()
    known = labels >= 0
    wanted = [
        one_minus_iou((predicted == k)[known] ^ (labels == k)[known], (labels == k)[known])
        for k in range(4)
    ]
    torch.testing.assert_close(lovasz_softmax(logits, labels), torch.stack(wanted).mean())


def test_lovasz_is_the_lovasz_extension_of_the_jaccard_loss() -> None:
    logits, labels = drawn(points=12, classes=2)
    known = labels >= 0
    probabilities, truth = logits[known].softmax(1), labels[known]
    losses = []
    for k in range(2):
        errors = ((truth == k).float() - probabilities[:, k]).abs()
        # The integral of the set function over the level sets of the errors.
        levels = torch.cat([errors.sort().values, torch.zeros(0)])
        steps = levels.diff(prepend=torch.zeros(1))
        parts = [
            step * one_minus_iou(errors >= level, truth == k)
            for level, step in zip(levels, steps, strict=True)
        ]
        losses.append(torch.stack(parts).sum())
    torch.testing.assert_close(lovasz_softmax(logits, labels), torch.stack(losses).mean())


@pytest.mark.parametrize("loss", [cross_entropy, lovasz_softmax])
def test_points_without_a_class_have_no_say(loss: object) -> None:
    assert callable(loss)
    logits, labels = drawn()
    logits.requires_grad_()
    loss(logits, labels).backward()
    assert logits.grad is not None
    assert not logits.grad[labels < 0].any()
    assert logits.grad[labels >= 0].any()
    nothing = loss(logits, torch.full_like(labels, -1))
    assert nothing == 0
    nothing.backward()
