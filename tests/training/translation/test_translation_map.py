"""The map of a translator: in closed form, and by descent on whitened features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from concerto.errors import TrainingError
from concerto.training.run.loop import LoopConfig, make_accelerator, train
from concerto.training.run.task import StepOutput
from concerto.training.translation.aligned import Pairs
from concerto.training.translation.normal_equations import NormalEquations
from concerto.training.translation.task import Translation, WhiteMap


def problem(rows: int = 400, features: int = 6, width: int = 4) -> tuple[torch.Tensor, ...]:
    """Features of very different spread, targets that they tell of, and weights."""
    torch.manual_seed(0)
    x = torch.randn(rows, features) * torch.logspace(-2, 1, features) + 3
    t = F.normalize((x - 3) @ torch.randn(features, width) + 0.3 * torch.randn(rows, width), dim=1)
    return x, t, torch.rand(rows) + 0.5


def summed(*rows: torch.Tensor) -> NormalEquations:
    equations = NormalEquations.zeros(rows[0].shape[1], rows[1].shape[1])
    equations.add(*rows)
    return equations


def test_the_closed_form_is_the_weighted_least_squares_solution() -> None:
    x, t, weight = (part.double() for part in problem())
    root = weight.sqrt()[:, None]
    design = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    wanted = torch.linalg.lstsq(design * root, t * root).solution
    equations = summed(x, t, weight)
    matrix, bias = equations.solve(0.0)
    torch.testing.assert_close(torch.cat([matrix.T, bias[None]]), wanted)
    loss = (((design @ wanted - t).square().sum(1)) * weight).sum() / weight.sum()
    torch.testing.assert_close(equations.loss(matrix, bias), loss)


def test_sums_of_parts_are_the_sums_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    x, t, weight = problem()
    whole = summed(x, t, weight)
    monkeypatch.setattr("concerto.training.translation.normal_equations.CHUNK", 7)
    parts = summed(x[:90], t[:90], weight[:90])
    parts.merge(summed(x[90:], t[90:], weight[90:]))
    for given, wanted in zip(parts.tensors(), whole.tensors(), strict=True):
        torch.testing.assert_close(given, wanted)


def test_a_larger_penalty_gives_a_smaller_map_that_fits_worse() -> None:
    equations = summed(*problem())
    maps = [equations.solve(ridge) for ridge in (0.0, 0.1, 10.0)]
    sizes = [float(matrix.norm()) for matrix, _ in maps]
    losses = [float(equations.loss(*one)) for one in maps]
    assert sizes[0] > sizes[1] > sizes[2]
    assert losses[0] < losses[1] < losses[2]


def test_features_that_say_nothing_are_told_of() -> None:
    with pytest.raises(TrainingError, match="nothing is known"):
        NormalEquations.zeros(3, 2).solve(0.1)
    same = torch.ones(5, 3)
    with pytest.raises(TrainingError, match="mean variance of 0"):
        summed(same, torch.rand(5, 2)).solve(0.1)
    twice = torch.tensor([-1.0, 1.0] * 4)[:, None].repeat(1, 2)
    with pytest.raises(TrainingError, match="depend on each other"):
        summed(twice, torch.rand(8, 2)).solve(0.0)


def test_whitened_features_vary_alike_and_the_plain_map_is_the_same() -> None:
    x, t, _ = problem()
    module = WhiteMap(6, 4)
    module.start(summed(x, t), 0.0)
    white = (x - module.mean) @ module.whitening.T
    torch.testing.assert_close(white.T @ white / len(x), torch.eye(6), atol=1e-3, rtol=1e-3)
    torch.nn.init.normal_(module.linear.weight)
    matrix, bias = module.plain()
    wanted = module.linear(white).detach().double()
    torch.testing.assert_close(x.double() @ matrix.T + bias, wanted, atol=1e-3, rtol=1e-3)


def test_the_map_is_as_exact_under_autocast() -> None:
    x, t, weight = problem()
    module = WhiteMap(6, 4)
    module.start(summed(x, t), 0.0)
    torch.nn.init.normal_(module.linear.weight)
    wanted, _ = module(Pairs(x, t, weight))
    with torch.autocast("cpu", torch.bfloat16):
        given, _ = module(Pairs(x, t, weight))
    assert torch.equal(given, wanted)


class Kept(Translation):
    """Descent on pairs that are at hand, without an encoder."""

    def forward(self, module: Any, batch: Any, step: int, total: int) -> StepOutput:
        loss, alike = module(Pairs(*batch))
        return StepOutput(loss, {"cosine": alike})


def test_the_closed_form_and_descent_agree(tmp_path: Path) -> None:
    x, t, weight = problem(2000, 24, 8)
    equations = summed(x, t, weight)
    task = Kept(SimpleNamespace(features=24, width=8), 0.01, 0.0, {})  # type: ignore[arg-type]
    task.module.start(equations, 1e-6)
    parts = [tuple(part) for part in zip(*(v.split(250) for v in (x, t, weight)), strict=True)]

    def batches(start: int) -> Iterator[Any]:
        while True:
            yield parts[start % len(parts)]
            start += 1

    loop = LoopConfig(tmp_path, batch_size=1, max_steps=300, log_every=100, tracker="none")
    train(task, batches, loop, make_accelerator(loop))
    best = float(equations.loss(*equations.solve(1e-4)))
    assert float(equations.loss(*task.module.plain())) == pytest.approx(best, rel=0.01)
    constant = float(equations.loss(torch.zeros(8, 24), equations.t / equations.count))
    assert best < 0.7 * constant
