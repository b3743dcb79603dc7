"""Recipes hold the values that were published, and the command line changes any of them."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file

from concerto.training.pretrain import parse
from concerto.training.pretraining.objective import JointObjective
from concerto.training.recipes import RECIPES, Recipe, RecipeName
from conftest import ROOT

DATA = ["--data", "scenes", "--output", "run"]


def make(name: str) -> Recipe:
    """A recipe with its own values."""
    return parse(["--recipe", name, *DATA])


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested dataclasses, by the name of its option."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            # The loop's options stand for themselves.
            yield from fields(value, "" if field.name == "loop" else f"{name}.")
        else:
            yield name, value


def test_every_name_has_a_recipe_of_that_name() -> None:
    assert set(RECIPES) == set(get_args(RecipeName))
    for name in RECIPES:
        recipe = make(name)
        assert recipe.recipe == name
        assert recipe.data == ("scenes",)
        assert recipe.loop.output == Path("run")


def test_the_base_has_the_published_values() -> None:
    base = make("concerto-base")
    assert (base.lr, base.layer_decay) == (0.004, 0.9)
    assert (base.loop.batch_size, base.loop.epochs, base.loop.clip_norm) == (96, 100, 3.0)
    assert base.loop.precision == "bf16"
    assert base.model.drop_path == 0.3
    assert base.model.channels == (48, 96, 192, 384, 512)
    assert base.images.name == "facebook/dinov2-with-registers-giant"
    assert base.schedules.momentum == (0.994, 1.0)
    assert base.schedules.weight_decay == (0.04, 0.2)
    weights = base.objective.self_weights, base.objective.cross_modal_weight
    assert weights == ((1 / 8, 1 / 8, 2 / 8), 4 / 8)
    assert (base.views.most_points, base.views.image_size) == (65_536, 518)


def test_the_others_differ_from_the_base_only_where_they_should() -> None:
    base = dict(fields(make("concerto-base")))
    heads = {"model.channels", "model.heads"}
    wanted = {
        "concerto-large": {"recipe", "clip-norm", *heads},
        "concerto-large-video": {"recipe", "clip-norm", *heads},
        "concerto-small": {"recipe", "model.depths", *heads},
        "concerto-base-siglip": {
            "recipe",
            "images.name",
            "objective.image-width",
            "views.image-size",
            "views.patch-size",
        },
        "sonata": {
            "recipe",
            "epochs",
            "images.name",
            "objective.mask-weight",
            "objective.roll-mask-weight",
            "objective.unmask-weight",
            "objective.cross-modal-weight",
            "objective.teacher-unmask-head",
            "views.drops",
            "views.use-images",
        },
    }
    for name, names in wanted.items():
        own = dict(fields(make(name)))
        assert {field for field in own if own[field] != base[field]} == names
    assert make("concerto-large").loop.clip_norm == 2.0
    assert make("sonata").loop.epochs == 200
    assert make("sonata").objective.self_weights == (2 / 8, 2 / 8, 4 / 8)


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_makes_an_objective(name: str) -> None:
    recipe = make(name)
    with torch.device("meta"):
        objective = JointObjective(recipe.model, recipe.objective)
    assert (objective.image_projection is None) == (name == "sonata")
    assert recipe.views.image_size % recipe.views.patch_size == 0


def test_every_value_is_an_option_with_its_default_in_the_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        parse(["--recipe", "concerto-tiny", "--help"])
    text = capsys.readouterr().out
    for name, _ in fields(make("concerto-tiny")):
        assert f"--{name}" in text
    # An option without words of its own stands straight before its default.
    lines = [line.strip("│ ") for line in text.splitlines()]
    bare = [a for a, b in pairwise(lines) if a[:2] == "--" and b.startswith("(default")]
    assert bare == []
    assert "Raises" not in text
    assert "Defaults shown are those of --recipe concerto-tiny." in text


def test_the_command_line_overrides_what_the_recipe_says() -> None:
    recipe = parse(
        [
            "--recipe",
            "concerto-tiny",
            "--data",
            "scenes",
            "--output",
            "run",
            "--max-steps",
            "60",
            "--lr",
            "0.01",
            "--schedules.momentum",
            "0.9",
            "0.99",
            "--model.depths",
            "2",
            "1",
            "1",
            "1",
            "1",
            "--views.no-drops",
            "--images.precision",
            "bfloat16",
        ]
    )
    tiny = make("concerto-tiny")
    assert recipe.loop.max_steps == 60
    assert recipe.lr == 0.01
    assert recipe.schedules.momentum == (0.9, 0.99)
    assert recipe.model == tiny.model.replace(depths=(2, 1, 1, 1, 1))
    assert not recipe.views.drops
    assert recipe.images == dataclasses.replace(tiny.images, precision="bfloat16")
    assert recipe.objective == tiny.objective


def test_the_recipe_may_stand_anywhere_and_take_an_equals_sign() -> None:
    assert parse([*DATA, "--recipe=sonata"]) == make("sonata")


@pytest.mark.parametrize(
    "arguments", [["--recipe", "concerto-huge", *DATA], ["--recipe", "sonata"]]
)
def test_what_no_recipe_has_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(arguments)
    assert exit_.value.code == 2
    text = capsys.readouterr().err
    assert "concerto-tiny" in text if "concerto-huge" in arguments else "--data" in text


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (["--views.grid-size", "0.05"], "--model.grid-size"),
        (["--images.name", "None"], "--objective.cross-modal-weight 0"),
        (["--images.cache", "features"], "--views.no-augment-images"),
        (["--model.center", "none"], "views are always centred"),
    ],
)
def test_parts_that_do_not_fit_are_told_with_the_option_to_pass(
    options: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--recipe", "concerto-tiny", *DATA, *options])
    assert advice in " ".join(capsys.readouterr().err.replace("│", " ").split())


def blocks(language: str) -> list[str]:
    """The blocks of code of the page about pretraining."""
    text = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_command_of_the_docs_is_understood() -> None:
    text = "\n".join(blocks("bash")).replace("\\\n", " ")
    commands = re.findall(r"-m concerto\.training\.pretrain (.*)", text)
    assert len(commands) >= 5
    for options in commands:
        assert parse(shlex.split(options)).data


def test_every_configuration_of_the_docs_is_accelerates(tmp_path: Path) -> None:
    found = blocks("yaml")
    assert len(found) == 3
    for number, text in enumerate(found):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        config = load_config_from_file(str(file))
        assert config.num_processes == (32 if "num_machines: 4" in text else 8)
