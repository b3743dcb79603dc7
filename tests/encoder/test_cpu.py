import pytest
import torch

from concerto.encoder import PointTransformer, cpu
from conftest import SMALL, relative_l2


@pytest.fixture
def precision() -> str:
    return torch.get_float32_matmul_precision()


def test_the_precision_of_products_is_restored(precision: str) -> None:
    with cpu.fast_products():
        pass
    assert torch.get_float32_matmul_precision() == precision
    with pytest.raises(KeyError), cpu.fast_products():
        raise KeyError
    assert torch.get_float32_matmul_precision() == precision


def test_a_precision_chosen_by_the_user_is_kept() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with cpu.fast_products():
            assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_forward_pass_for_training_leaves_products_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else layers run again in the backward pass would differ from the first time."""
    monkeypatch.setattr(torch, "set_float32_matmul_precision", pytest.fail)
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
    cpu._medium_is_exact.cache_clear()
    try:
        with cpu.fast_products():
            assert torch.get_float32_matmul_precision() == "highest"
    finally:
        cpu._medium_is_exact.cache_clear()


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
