"""What is promised of CUDA; passed over, with the reason, where there is no such device."""

import pytest
import torch

from concerto import Concerto
from concerto.encoder.pooling import pool_grid
from conftest import SMALL, random_cloud, relative_l2


@pytest.fixture(autouse=True)
def _device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")


@pytest.fixture
def pair(model: Concerto) -> tuple[Concerto, Concerto]:
    """The same model on the CPU and on CUDA."""
    twin = Concerto(SMALL).eval()
    twin.load_state_dict(model.state_dict())
    return model, twin.cuda()


def test_cuda_agrees_with_the_cpu_and_repeats_bit_for_bit(pair: tuple[Concerto, Concerto]) -> None:
    cpu, cuda = pair
    cloud = random_cloud(20_000, extent=4.0)
    first = cuda.encode(cloud)
    assert relative_l2(first.cpu(), cpu.encode(cloud)) < 1e-4
    assert all(torch.equal(cuda.encode(cloud), first) for _ in range(3))
    assert relative_l2(cuda.encode(cloud.to("cuda")).cpu(), first.cpu()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_cuda_stays_near(
    pair: tuple[Concerto, Concerto], dtype: torch.dtype
) -> None:
    cpu, cuda = pair
    cloud = random_cloud(20_000, extent=4.0)
    assert relative_l2(cuda.to(dtype).encode(cloud).cpu(), cpu.encode(cloud)) < 3e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_spconv_gives_the_same_features_and_gradients(
    pair: tuple[Concerto, Concerto], dtype: torch.dtype
) -> None:
    pytest.importorskip("spconv")
    _, plain = pair
    sparse = Concerto(SMALL, backend="spconv").cuda().eval()
    sparse.load_state_dict(plain.state_dict())
    plain, sparse = plain.to(dtype), sparse.to(dtype)
    cloud = random_cloud(20_000, extent=4.0)
    tolerance = 1e-3 if dtype == torch.float32 else 3e-2
    ours, theirs = plain(cloud), sparse(cloud)
    assert relative_l2(theirs, ours) < tolerance
    ours.float().square().mean().backward()
    theirs.float().square().mean().backward()
    for one, two in zip(plain.parameters(), sparse.parameters(), strict=True):
        if one.grad is not None and one.grad.norm() > 0:
            assert relative_l2(two.grad, one.grad) < 10 * tolerance


def test_torch_scatter_takes_the_same_maxima() -> None:
    pytest.importorskip("torch_scatter")
    grid = torch.unique(torch.randint(0, 30, (5000, 3), device="cuda"), dim=0)
    batch = torch.zeros(len(grid), dtype=torch.long, device="cuda")
    x = torch.randn(len(grid), 16, device="cuda")
    assert torch.equal(pool_grid(grid, batch).max(x), pool_grid(grid, batch, True).max(x))


def test_fields_of_a_scene_may_lie_on_different_devices(pair: tuple[Concerto, Concerto]) -> None:
    cpu, cuda = pair
    cloud = random_cloud(2000)
    wanted = cpu.encode(cloud)
    mixed = {"coord": cloud.coord.cuda(), "color": cloud.color, "normal": cloud.normal.numpy()}
    for offset in (torch.tensor([500, 2000]), torch.tensor([500, 2000], device="cuda")):
        packed = cuda.encode(mixed | {"offset": offset})
        assert packed.shape == wanted.shape
    assert relative_l2(cuda.encode(mixed).cpu(), wanted) < 1e-4
