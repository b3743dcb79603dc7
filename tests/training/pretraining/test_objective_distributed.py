"""How many processes share a batch changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import fsdp
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from concerto.training.pretraining.objective import ImageViews, JointObjective
from concerto.training.run.state import gather_module
from concerto.training.scenes.samples import SampleViews, collate
from small_batches import (
    CONFIG,
    SETTINGS,
    image_features,
    small_objective,
    small_sample,
    without_pairs,
)

Result = dict[str, Tensor]

# The first half of each batch goes to the first of two processes.
BATCHES = {
    "images everywhere": [small_sample(0), small_sample(1, images=1)],
    "images that teach all views": [small_sample(0), small_sample(1, images=1)],
    "images in one process": [small_sample(0), small_sample(1, images=0)],
    "no images": [small_sample(0, images=0), small_sample(1, images=0)],
    "pairs between views in one process": [small_sample(0), without_pairs(small_sample(1))],
}


def step(name: str, rank: int | None = None) -> Result:
    """Losses and gradients of one step on a batch, or on one process' sample of it."""
    samples: list[SampleViews] = BATCHES[name] if rank is None else [BATCHES[name][rank]]
    views: ImageViews = "all" if "all views" in name else "principal"
    objective = small_objective(config=replace(CONFIG, image_views=views))
    module = DistributedDataParallel(objective) if dist.is_initialized() else objective
    batch = collate(samples)
    losses = module(batch, image_features(batch.images) if len(batch.images) else None, SETTINGS)
    losses.total.backward()
    gradients = {n: p.grad for n, p in objective.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in gradients.values())
    values = {f"loss {name}": value.detach().double() for name, value in vars(losses).items()}
    return values | {n: g for n, g in gradients.items() if g is not None}


def run(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/store", world_size=2, rank=rank)
    torch.set_num_threads(1)
    results = {name: step(name, rank) for name in BATCHES}
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shared_work(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Result]]:
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(run, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", BATCHES)
def test_two_processes_find_the_losses_and_gradients_of_one(
    shared_work: list[dict[str, Result]], name: str
) -> None:
    alone = step(name)
    for results in shared_work:
        for key, wanted in alone.items():
            error = (results[name][key] - wanted).norm()
            assert error <= 1e-5 * wanted.norm(), key


def updated(objective: JointObjective) -> Result:
    """All tensors after the teacher followed a student that has changed."""
    with torch.no_grad():
        for parameter in objective.student.parameters():
            parameter.mul_(1.5)
        for gain in objective.student.buffers():
            gain.mul_(2)
    objective.update_teacher(0.75)
    return gather_module(objective, keep=True)


def update_shards(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/shards", world_size=2, rank=rank)
    objective = small_objective()
    fsdp.fully_shard(objective, mesh=init_device_mesh("cpu", (2,)))
    torch.save(updated(objective), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_the_teacher_follows_a_sharded_student_too(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(update_shards, (str(tmp_path),), nprocs=2)
    wanted = updated(small_objective())
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert torch.equal(found[name], tensor), name
