from threading import Thread

import pytest
import torch

from concerto.encoder import PointTransformer, cpu
from conftest import SMALL, relative_l2


def test_the_precision_of_products_is_restored() -> None:
    before = cpu._get_precision()
    with cpu.fast_products():
        pass
    assert cpu._get_precision() == before
    with pytest.raises(KeyError), cpu.fast_products():
        raise KeyError
    assert cpu._get_precision() == before


def test_a_precision_chosen_by_the_user_is_kept() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with cpu.fast_products():
            assert torch.get_float32_matmul_precision() == "high"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="needs torch 2.9")
def test_what_is_chosen_for_a_gpu_neither_matters_nor_changes() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with cpu.fast_products():
            assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def test_a_forward_pass_for_training_leaves_products_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else layers run again in the backward pass would differ from the first time."""
    monkeypatch.setattr(cpu, "_set_precision", pytest.fail)
    grid = torch.tensor([[0, 0, 0], [0, 0, 1]])
    PointTransformer(SMALL)(torch.randn(2, 9), grid, torch.tensor([2]))


def test_products_within_are_true_float32() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(700, 300), torch.randn(300, 200)
    with cpu.fast_products():
        given = a @ b
    assert relative_l2(given, a.double() @ b.double()) < 1e-5


def test_imprecise_products_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "FLOAT32_ERROR", 0.0)
    cpu._bfloat16_is_unused.cache_clear()
    try:
        with cpu.fast_products():
            assert cpu._get_precision() in cpu.EXACT
    finally:
        cpu._bfloat16_is_unused.cache_clear()


def test_the_last_thread_to_leave_restores_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_bfloat16_is_unused", lambda: True)
    before = cpu._get_precision()
    first, second = cpu.fast_products(), cpu.fast_products()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert cpu._get_precision() == cpu.ALLOW_BFLOAT16
    second.__exit__(None, None, None)
    assert cpu._get_precision() == before


def test_a_thread_that_comes_while_another_tries_products_out_does_not_see_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_precision, before, seen = cpu._set_precision, cpu._get_precision(), []

    def multiply() -> None:
        with cpu.fast_products():
            seen.append(cpu._get_precision())

    second = Thread(target=multiply)

    def set_and_let_the_second_come(precision: str) -> None:
        set_precision(precision)
        if second.ident is None:
            second.start()
            second.join(0.2)

    monkeypatch.setattr(cpu, "_set_precision", set_and_let_the_second_come)
    monkeypatch.setattr(cpu, "FLOAT32_ERROR", 0.0)  # so that trying out is all that sets it
    cpu._bfloat16_is_unused.cache_clear()
    try:
        multiply()
        second.join()
    finally:
        cpu._bfloat16_is_unused.cache_clear()
    assert seen == [before] * 2
    assert cpu._get_precision() == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_inference_on_a_cpu_agrees_with_what_gradients_pass_through(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    encoder = PointTransformer(SMALL).eval().to(dtype)
    grid = torch.unique(torch.randint(0, 20, (500, 3)), dim=0)
    inputs = torch.randn(len(grid), 9), grid, torch.tensor([len(grid)])
    with torch.no_grad():
        fast = encoder(*inputs)
    assert all(level.feat.requires_grad for level in encoder(*inputs))
    for given, plain in zip(fast, encoder(*inputs), strict=True):
        bound = 3e-2 if dtype == torch.bfloat16 else 1e-5
        assert relative_l2(given.feat, plain.feat.detach()) < bound
        assert given.feat.dtype == dtype
