"""Time and memory of a step of pretraining, by part: `python -m benchmarks.pretrain [OPTIONS]`.

Options are those of `concerto.training.pretrain`, by default `--recipe concerto-tiny`, and --steps.
Without --data every sample is a room of 163,000 points with four images. Views are made in this
process, one sample after another; a run with workers makes them beside the rest. Peak memory is the
device's where it is a CUDA device, else the process'.

The teacher's and the heads' parts are forward passes. "matching, balance" is what the objective
does beside them: masks, pairs of points, balanced targets, patches, losses.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import defaultdict
from functools import partial
from itertools import count
from typing import Any

import torch

from benchmarks.clock import Clock
from benchmarks.views import report, room
from concerto.training.images.named import load_teacher
from concerto.training.images.teacher import ImageTeacher
from concerto.training.pretrain import parse
from concerto.training.pretraining.task import Pretraining
from concerto.training.recipes import Recipe
from concerto.training.run.optimizer import Optimizer
from concerto.training.scenes.samples import Batch, Sample, collate
from concerto.training.scenes.seeds import sample_seed
from concerto.training.scenes.sources import open_scenes
from concerto.training.views.crops import make_views

POINTS = 163_000
PARTS = (
    "data",
    "image encoder",
    "student",
    "teacher",
    "heads",
    "matching, balance",
    "backward",
    "optimiser, average",
)
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], add_help=False)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options, rest = parser.parse_known_args()
    for name, value in (("--recipe", "concerto-tiny"), ("--data", ""), ("--output", "")):
        if not any(argument.split("=")[0] == name for argument in rest):
            rest += [name, value]
    recipe = parse(rest)
    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    print(f"{recipe.recipe}, batches of {recipe.loop.batch_size}, {name}{threads}")
    report(*measure(recipe, device, options.steps))
    print(f"peak memory {peak_memory(device) / 2**30:.2f} GiB")


def measure(
    recipe: Recipe, device: torch.device, steps: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Seconds of each step, and of each part of it."""
    clock = Clock(torch.cuda.synchronize if device.type == "cuda" else lambda: None)
    task = Pretraining(recipe, image_encoder(recipe, device, clock))
    task.module.to(device)
    optimizer = Optimizer(task.parameter_groups())
    step_parts = clocked(task, optimizer, recipe, device, clock)
    total: list[float] = []
    parts = defaultdict(list)
    for step in range(steps + 1):
        clock.seconds.clear()
        start = time.perf_counter()
        step_parts(step)
        clock.wait()
        if not step:
            continue  # the first one also warms up
        total.append(time.perf_counter() - start)
        for part in PARTS:
            parts[part].append(clock.seconds[part])
        parts["rest"].append(total[-1] - sum(clock.seconds.values()))
    return total, parts


def clocked(
    task: Pretraining,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    device: torch.device,
    clock: Clock,
) -> Any:
    """A step of training, given its number, whose parts tell the clock."""
    student, teacher = task.module.student, task.module.teacher
    for part, owner, method in (
        ("student", student.encoder, "forward"),
        ("teacher", teacher.encoder, "forward"),
        ("heads", student.mask_head, "embed"),
        ("heads", student.mask_head.prototypes, "forward"),
        ("heads", student.unmask_head, "forward"),
        ("heads", teacher.mask_head, "forward"),
        *([("heads", task.module.image_projection, "forward")] if recipe.images.name else []),
        ("matching, balance", task.module, "forward"),
    ):
        setattr(owner, method, clock.timed(part, getattr(owner, method)))
    batches = iter(map(partial(make_batch, recipe, source(recipe)), count()))
    precision = PRECISIONS.get(recipe.loop.precision)

    def update(step: int) -> None:
        optimizer.step()
        optimizer.zero_grad()
        task.after_step(step, 100, dict.fromkeys(("feature_rank", "prototype_use", "agreement"), 1))

    def one(step: int) -> None:
        batch = clock.timed("data", lambda: next(batches).to(device))()
        with torch.autocast(device.type, precision, enabled=precision is not None):
            output = task.forward(task.module, batch, step, 100)
        clock.timed("backward", output.loss.backward)()
        clock.timed("optimiser, average", update)(step)

    return one


def make_batch(recipe: Recipe, samples: list[Sample], number: int) -> Batch:
    """The views of one batch, each of its samples with a seed of its own."""
    size = recipe.loop.batch_size
    return collate(
        [
            make_views(samples[i % len(samples)], recipe.views, sample_seed(0, number, i))
            for i in range(size)
        ]
    )


def source(recipe: Recipe) -> list[Sample]:
    """The first samples of the data, or a room."""
    if recipe.data == ("",):
        return [room(POINTS, 4, recipe.views.image_size, recipe.views.image_size)]
    scenes = open_scenes(recipe.data, split=recipe.split)
    return [scenes[i] for i in range(min(len(scenes), recipe.loop.batch_size))]


def image_encoder(recipe: Recipe, device: torch.device, clock: Clock) -> ImageTeacher | None:
    """The recipe's image encoder, telling the clock."""
    if recipe.images.name is None:
        return None
    dtype = getattr(torch, recipe.images.precision)
    encoder = load_teacher(recipe.images.name, device, dtype, recipe.views.image_size)
    encoder.forward = clock.timed("image encoder", encoder.forward)  # type: ignore[method-assign]
    return encoder


def peak_memory(device: torch.device) -> int:
    """The most that was held so far, bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
