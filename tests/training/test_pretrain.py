"""Pretraining from end to end, as a function and through `accelerate launch`."""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from command import run, run_here
from concerto import Concerto, ConcertoWarning, ConfigError
from concerto.training.pretrain import parse, pretrain
from concerto.training.pretraining import task as pretraining
from concerto.training.pretraining.task import Pretraining
from concerto.training.recipes import Recipe
from concerto.training.run.checkpointing import latest_checkpoint
from concerto.training.run.metrics import read_metrics
from conftest import SMALL
from small_scenes import as_options, small_recipe, write_scenes

LOSSES = ("loss", "mask", "roll_mask", "unmask", "cross_modal", "grad_norm")
MONITORS = ("agreement", "prototype_use", "feature_rank", "pairs", "patches")
PRETRAIN = "concerto.training.pretrain"
LAUNCH = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def finished(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A run of four steps, over in this process."""
    recipe = small_recipe(scenes, tmp_path_factory.mktemp("runs") / "run", picture_every=4)
    assert pretrain(recipe).exit_code == 0
    return recipe


def losses(run: Path) -> list[dict[str, float]]:
    """What was logged of each step, apart from times."""
    names = (*LOSSES, *MONITORS)
    return [{n: entry[n] for n in names if n in entry} for entry in read_metrics(run)]


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """What the latest checkpoint holds of student and teacher."""
    found = latest_checkpoint(run)
    assert found is not None
    module: dict[str, torch.Tensor] = found[1]["module"]
    return module


def test_a_run_logs_finite_losses_and_monitors_and_draws_its_scene(finished: Recipe) -> None:
    run = finished.loop.output
    logged = losses(run)
    assert len(logged) == 4
    assert all(math.isfinite(value) for entry in logged for value in entry.values())
    assert all(entry["pairs"] > 0 and entry["patches"] > 0 for entry in logged)
    assert [file.name for file in (run / "pictures").iterdir()] == ["features-00000004.png"]


def test_the_teacher_follows_the_student_and_is_not_it(finished: Recipe) -> None:
    state = tensors(finished.loop.output)
    torch.manual_seed(finished.loop.seed)
    start = Pretraining(finished).module.state_dict()
    name = "encoder.stages.0.blocks.0.mlp.fc1.weight"
    student, teacher = state[f"student.{name}"], state[f"teacher.{name}"]
    assert not torch.equal(teacher, start[f"teacher.{name}"])
    moved = (student - start[f"student.{name}"]).norm()
    assert (teacher - start[f"teacher.{name}"]).norm() < 0.5 * moved


def test_two_processes_of_accelerate_launch_do_what_one_does(
    finished: Recipe, scenes: Path, tmp_path: Path
) -> None:
    options = as_options(replace(finished, loop=replace(finished.loop, output=tmp_path / "two")))
    run(*options, through=LAUNCH, module=PRETRAIN, OMP_NUM_THREADS="1")
    two, one = losses(tmp_path / "two"), losses(finished.loop.output)
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    assert len(two) == len(one)
    for given, wanted in zip(two, one, strict=True):
        assert given == pytest.approx(wanted, rel=1e-2)
    # Not one process that was taken for two: sums in another order round differently.
    assert two != one


def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    finished: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = replace(finished.loop, output=tmp_path / "run", picture_every=0)
    follow = Pretraining.after_step

    def stop(self: Pretraining, step: int, total: int, values: Mapping[str, float]) -> None:
        follow(self, step, total, values)
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Pretraining, "after_step", stop)
        result = pretrain(replace(finished, loop=loop))
    assert (result.steps, result.exit_code) == (2, 128 + signal.SIGTERM)
    assert pretrain(replace(finished, loop=replace(loop, resume=True))).exit_code == 0
    assert losses(loop.output) == losses(finished.loop.output)
    wanted, given = tensors(finished.loop.output), tensors(loop.output)
    assert all(torch.equal(given[name], wanted[name]) for name in wanted)


def test_a_run_without_images_needs_no_image_encoder_and_reads_none(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "scenes")
    for image in data.rglob("*.png"):
        image.unlink()
    recipe = small_recipe(data, tmp_path / "run", max_steps=1)
    recipe = replace(
        recipe,
        images=replace(recipe.images, name=None),
        objective=replace(recipe.objective, cross_modal_weight=0.0),
        views=replace(recipe.views, use_images=False),
    )
    pretrain(recipe)
    (entry,) = losses(tmp_path / "run")
    assert not {"cross_modal", "patches"} & entry.keys()
    weights = zip(recipe.objective.self_weights, ("mask", "roll_mask", "unmask"), strict=True)
    assert entry["loss"] == pytest.approx(sum(weight * entry[name] for weight, name in weights))


def test_images_that_are_missing_are_told(scenes: Path, tmp_path: Path) -> None:
    recipe = small_recipe(scenes, tmp_path / "run", max_steps=1)
    with pytest.warns(ConcertoWarning, match=r"--objective\.cross-modal-weight 0"):
        pretrain(replace(recipe, views=replace(recipe.views, use_images=False)))


def test_muon_steps_what_takes_features_to_features_at_the_same_rates(finished: Recipe) -> None:
    plain, task = Pretraining(finished), Pretraining(replace(finished, muon=True))
    names = {id(p): name for name, p in task.module.named_parameters()}
    matrices = [names[id(p)] for g in task.parameter_groups() if g.muon for p in g.parameters]
    others = [names[id(p)] for g in task.parameter_groups() if not g.muon for p in g.parameters]
    trained = [name for name, p in task.module.named_parameters() if p.requires_grad]
    assert sorted(matrices + others) == sorted(trained)
    heads = [
        f"student.{head}.{fc}.weight"
        for head in ("mask_head", "unmask_head")
        for fc in ("fc1", "fc2")
    ]
    assert set(heads) < set(matrices)
    inside = [name for name in trained if ".blocks." in name or ".down.linear" in name]
    assert set(matrices) - set(heads) == {n for n in inside if n.endswith("weight")} - {
        name for name in inside if "norm" in name
    }
    rates = {n: g.lr for g in task.parameter_groups() for n in [names[id(p)] for p in g.parameters]}
    names = {id(p): name for name, p in plain.module.named_parameters()}
    assert rates == {names[id(p)]: g.lr for g in plain.parameter_groups() for p in g.parameters}


def test_blocks_near_the_input_learn_more_slowly(finished: Recipe) -> None:
    task = Pretraining(finished)
    rates = {id(p): group.lr for group in task.parameter_groups() for p in group.parameters}
    trained = [p for p in task.module.parameters() if p.requires_grad]
    assert set(rates) == set(map(id, trained))
    stages = task.module.student.encoder.stages
    blocks = [block for stage in stages for block in stage.blocks]  # type: ignore[union-attr]
    given = [rates[id(block.mlp.fc1.weight)] for block in blocks]
    # lr · .9^(D - D_e - b - 1), D blocks in all, D_e before stage e.
    depths = finished.model.depths
    wanted = [
        finished.lr * 0.9 ** (sum(depths) - sum(depths[:e]) - b - 1)
        for e in range(len(depths))
        for b in range(depths[e])
    ]
    assert given == pytest.approx(wanted)
    assert rates[id(task.module.student.encoder.embedding.linear.weight)] == finished.lr
    assert rates[id(task.module.student.mask_head.fc1.weight)] == finished.lr


def test_it_starts_from_an_encoder_and_takes_over_its_licence(scenes: Path, tmp_path: Path) -> None:
    start = Concerto(SMALL.replace(grid_size=0.04, license="cc-by-nc-4.0"))
    start.save_pretrained(tmp_path / "start")
    recipe = small_recipe(scenes, tmp_path / "run", max_steps=1)
    with pytest.warns(ConcertoWarning, match="no projection heads"):
        pretrain(replace(recipe, start_from=str(tmp_path / "start"), lr=0.0))
    found = latest_checkpoint(tmp_path / "run")
    assert found is not None
    settings: dict[str, Any] = found[1]["settings"]["task"]
    assert settings["model"]["license"] == "cc-by-nc-4.0"
    for name, tensor in start.encoder.state_dict().items():
        assert torch.equal(found[1]["module"][f"student.encoder.{name}"], tensor)


def test_starting_from_weights_that_know_another_input_is_told(
    scenes: Path, tmp_path: Path
) -> None:
    Concerto(SMALL.replace(grid_size=0.01, coord_scale=0.2, center="xy")).save_pretrained(
        tmp_path / "start"
    )
    recipe = small_recipe(scenes, tmp_path / "run", max_steps=1)
    with pytest.warns(ConcertoWarning) as told:
        pretrain(replace(recipe, start_from=str(tmp_path / "start")))
    said = " ".join(str(warning.message) for warning in told)
    assert "trained with grid_size 0.01, and goes on with 0.04" in said
    assert "pass --model.coord-scale 0.2" in said
    assert 'trained with center "xy", and views are centred "xyz"' in said


def test_views_are_of_the_scale_that_the_encoder_will_be_given(
    scenes: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(scenes, tmp_path / "run", max_steps=1)
    pretrain(recipe)
    for scene in ("room0", "room1", "room2"):
        place = scenes.parent / "far" / scene
        shutil.copytree(scenes / scene, place)
        np.save(place / "coord.npy", np.load(place / "coord.npy") * np.float32(4))
    shutil.copytree(scenes / "splits", scenes.parent / "far" / "splits")
    far = small_recipe(scenes.parent / "far", tmp_path / "scaled", max_steps=1)
    pretrain(replace(far, model=far.model.replace(coord_scale=0.25)))
    assert losses(tmp_path / "scaled") == losses(tmp_path / "run")


def test_a_first_sample_that_is_broken_leaves_the_pictures_to_the_next(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "scenes", samples=24)
    (data / "room0" / "color.npy").write_bytes(b"")
    recipe = small_recipe(data, tmp_path / "run", max_steps=1, picture_every=1)
    with pytest.warns(ConcertoWarning, match="Left out: .*room0"):
        pretrain(recipe)
    assert (tmp_path / "run" / "pictures" / "features-00000001.png").exists()


def test_a_scene_that_does_not_fit_the_memory_costs_its_picture_not_the_run(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(encoder: object, cloud: object) -> None:
        raise torch.cuda.OutOfMemoryError("Tried to allocate 80 GiB")

    monkeypatch.setattr(pretraining, "feature_picture", full)
    recipe = small_recipe(scenes, tmp_path / "run", max_steps=1, picture_every=1)
    with pytest.warns(ConcertoWarning, match=r"not drawn: OutOfMemoryError: .*80 GiB"):
        assert pretrain(recipe).exit_code == 0
    assert not (tmp_path / "run" / "pictures").exists()


def test_an_image_encoder_of_other_sizes_is_refused_with_the_options_to_pass(
    scenes: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(scenes, tmp_path / "run")
    recipe = replace(recipe, objective=replace(recipe.objective, image_width=100))
    with pytest.raises(ConfigError, match=r"--objective\.image-width 624 --views\.patch-size 16"):
        pretrain(recipe)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path / "none", tmp_path / "run", batch_size=2, accumulate=4)
    with pytest.raises(ConfigError, match=r"batch of 2 samples .* must be a multiple of 4"):
        pretrain(recipe)


def test_broken_samples_are_named_and_too_many_end_the_run_in_one_line(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "scenes")
    for scene in ("room0", "room1", "room2"):
        (data / scene / "color.npy").write_bytes(b"")
    process = run_here(*as_options(small_recipe(data, tmp_path / "run")), module=PRETRAIN, code=1)
    assert "warning: Left out:" in process.stderr
    assert "\nerror: " in process.stderr


def test_options_make_the_recipe_that_tests_run(scenes: Path, tmp_path: Path) -> None:
    recipe = small_recipe(scenes, tmp_path / "run")
    assert parse(as_options(recipe)) == recipe
