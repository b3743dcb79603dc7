"""Muon beside AdamW."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from concerto.training.run.optimizer import STEP_SIZE, Optimizer, orthogonal
from concerto.training.run.task import ParameterGroup


def parameter(*shape: int, seed: int = 0) -> nn.Parameter:
    tensor = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    tensor.grad = torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1))
    return tensor


@settings(deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), scale=st.floats(1e-6, 1e6))
def test_singular_values_come_near_to_one_and_directions_stay(
    rows: int, columns: int, scale: float
) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    matrix = u @ torch.diag(s.clamp_min(0.1 * s.max()) * scale) @ vt
    values = u.T @ orthogonal(matrix) @ vt.T
    assert values.diagonal().min() > 0.6
    assert values.diagonal().max() < 1.3
    assert (values - torch.diag(values.diagonal())).abs().max() < 1e-3


def test_a_matrix_takes_steps_of_the_size_of_adamws() -> None:
    matrix = parameter(48, 96)
    before = matrix.detach().clone()
    Optimizer([ParameterGroup([matrix], lr=0.01, muon=True)]).step()
    decayed = before * (1 - 0.01 * 0.01)
    step = (matrix.detach() - decayed).square().mean().sqrt() / 0.01
    assert step == pytest.approx(STEP_SIZE, rel=0.2)


def test_a_kernel_is_stepped_as_the_matrix_that_it_is() -> None:
    kernel, matrix = parameter(8, 3, 3, 3, 8), nn.Parameter(torch.empty(8, 216))
    matrix.data, matrix.grad = kernel.detach().flatten(1).clone(), kernel.grad.flatten(1)  # type: ignore[union-attr]
    for one in (kernel, matrix):
        Optimizer([ParameterGroup([one], lr=0.01, muon=True)]).step()
    assert torch.equal(kernel.flatten(1), matrix)


def test_other_groups_are_adamws_bit_for_bit() -> None:
    ours, theirs, matrix = parameter(8, 8), parameter(8, 8), parameter(4, 4)
    optimizer = Optimizer([ParameterGroup([matrix], 0.1, muon=True), ParameterGroup([ours], 0.1)])
    plain = torch.optim.AdamW([theirs], lr=0.1)
    for _ in range(3):
        optimizer.step()
        plain.step()
    assert torch.equal(ours, theirs)
    assert len(optimizer.param_groups) == 2


def test_momentum_carries_on_where_a_gradient_fell_silent() -> None:
    matrix = parameter(6, 6)
    optimizer = Optimizer([ParameterGroup([matrix], lr=0.1, muon=True)])
    optimizer.step()
    matrix.grad, before = torch.zeros(6, 6), matrix.detach().clone()
    optimizer.step()
    assert (matrix - before).norm() > 0.1
    matrix.grad, before = None, matrix.detach().clone()
    optimizer.step()
    assert torch.equal(matrix, before)


def test_a_run_may_go_on_with_the_other_of_the_two() -> None:
    """Its averages start anew, as what a checkpoint has none of does."""
    for muon in (True, False):
        matrix = parameter(6, 6)
        before = Optimizer([ParameterGroup([matrix], lr=0.1, muon=muon)])
        before.step()
        after = Optimizer([ParameterGroup([matrix], lr=0.1, muon=not muon)])
        after.state.update(before.state)
        fresh = nn.Parameter(matrix.detach().clone())
        fresh.grad = matrix.grad
        after.step()
        Optimizer([ParameterGroup([fresh], lr=0.1, muon=not muon)]).step()
        assert torch.equal(matrix, fresh)


def test_a_gradient_of_nothing_steps_nowhere() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))
