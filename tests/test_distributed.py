"""Two processes, as any `nn.Module` may be trained."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from concerto import Concerto
from conftest import SMALL, random_cloud


def train(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/store", world_size=2, rank=rank)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = DistributedDataParallel(Concerto(SMALL))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for step in range(3):
        model(random_cloud(200, seed=10 * step + rank)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.save(model.module.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_ddp_trains_without_flags_and_keeps_the_processes_equal(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train, (str(tmp_path),), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    torch.manual_seed(0)
    start = Concerto(SMALL).state_dict()
    assert any(not torch.equal(one[name], start[name]) for name in one)
