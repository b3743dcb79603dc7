"""A run becomes a model: a folder with a card, a repo on the Hub, or the published layout."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import concerto
from command import run_here
from concerto import CheckpointError, Concerto, ConcertoConfig, ConcertoWarning, InputError
from concerto.training.export import export, main
from concerto.training.pretrain import pretrain
from concerto.training.pretraining.card import RunRecord, run_card
from concerto.training.pretraining.published import warm_start
from concerto.training.pretraining.task import Pretraining
from concerto.training.recipes import RECIPES, Recipe
from concerto.training.run.checkpointing import latest_checkpoint
from concerto.training.run.folder import as_json
from conftest import Loader, random_cloud
from hub_server import FakeHub
from small_scenes import small_recipe, write_scenes

FILES = {"config.json", "model.safetensors", "README.md", "curves.png"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """What the run was, that is exported here."""
    folder = tmp_path_factory.mktemp("export")
    recipe = small_recipe(write_scenes(folder / "scenes"), folder / "run", max_steps=2)
    recipe = replace(recipe, lr=0.002)
    pretrain(recipe)
    return recipe


@pytest.fixture(scope="module")
def trained(recipe: Recipe) -> dict[str, torch.Tensor]:
    """The tensors of the run's checkpoint."""
    found = latest_checkpoint(recipe.loop.output)
    assert found is not None
    module: dict[str, torch.Tensor] = found[1]["module"]
    return module


def holds(model: Concerto, branch: str, trained: dict[str, torch.Tensor]) -> bool:
    """Whether a model has the weights of "student" or "teacher"."""
    return all(
        torch.equal(tensor, trained[f"{branch}.{name}"])
        for name, tensor in model.state_dict().items()
    )


def test_the_exported_model_loads_and_encodes_with_the_students_weights(
    recipe: Recipe, trained: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    export(recipe.loop.output, tmp_path / "model")
    assert {file.name for file in (tmp_path / "model").iterdir()} == FILES
    model = concerto.from_pretrained(tmp_path / "model")
    assert model.config == recipe.model
    assert not model.config.untrained
    assert holds(model, "student", trained)
    features = model.encode(random_cloud(300))
    assert isinstance(features, torch.Tensor)
    assert features.shape == (300, model.feature_dim())
    assert features.isfinite().all()


def test_the_teacher_can_be_had_instead(
    recipe: Recipe, trained: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    export(recipe.loop.output, tmp_path / "model", teacher=True)
    assert holds(concerto.from_pretrained(tmp_path / "model"), "teacher", trained)
    assert "the teacher's" in (tmp_path / "model" / "README.md").read_text()


def test_the_card_says_what_the_run_recorded(recipe: Recipe, tmp_path: Path) -> None:
    export(recipe.loop.output, tmp_path / "model", license="mit")
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.license == "mit"
    for wanted in (
        "| recipe | concerto-tiny |",
        "| data | `scenes` (train) |",
        "| image encoder | efficientnet-lite0 |",
        "| steps | 2 of 2, of 4 samples |",
        "By joint 2D-3D self-supervision",
        "`lr` 0.002",
        "`clip_norm` None",
        "the\ncross-modal one 10",
        "| cross modal |",
        "![Curves of the run](curves.png)",
        "Weights: mit",
    ):
        assert wanted in card.text
    # Where on a machine the data lay is nobody's business.
    assert str(tmp_path.parent) not in card.text


def test_the_card_does_not_tell_where_image_encoder_and_scans_lay(recipe: Recipe) -> None:
    images = replace(recipe.images, name="/home/me/dino")
    private = replace(recipe, images=images, picture_scene=Path("/home/me/scan.ply"))
    settings = as_json(dataclasses.asdict(private))
    record = RunRecord(settings, {"steps": 2, "batch_size": 4, "precision": "no"}, {}, 2, [])
    card = run_card(recipe.model, record, "student", "me/model", None)
    assert "| image encoder | `dino` |" in card
    assert "`picture_scene` `scan.ply`" in card
    assert "/home/me" not in card


def card_of(recipe: Recipe) -> str:
    """The card of a run that has not logged anything yet."""
    settings = as_json(dataclasses.asdict(recipe))
    names = ("batch_size", "accumulate", "precision", "clip_norm", "seed")
    loop = {name: settings["loop"][name] for name in names}
    record = RunRecord(settings, {"steps": 2, "samples": 3, **loop}, {}, 2, [])
    return run_card(recipe.model, record, "student", "me/model", None)


def test_the_card_tells_every_value_that_is_not_the_recipes(tmp_path: Path) -> None:
    plain = RECIPES["sonata"](("org/scenes",), tmp_path)
    assert "All other values are the recipe's." in card_of(plain)
    loop = replace(plain.loop, seed=7, accumulate=2, clip_norm=1.0)
    told = "Other than in the recipe: `accumulate` 2, `clip_norm` 1.0, `seed` 7."
    assert told in card_of(replace(plain, loop=loop))


def test_the_card_tells_what_was_changed_on_the_way(recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(recipe.loop.output, tmp_path / "run")
    shutil.copytree(recipe.data[0], tmp_path / "moved")
    loop = replace(recipe.loop, output=tmp_path / "run", resume=True, allow_changes=True)
    changed = replace(recipe, lr=0.001, data=(str(tmp_path / "moved"),), loop=loop)
    pretrain(changed)  # through already, so all weights are of the settings before
    export(tmp_path / "run", tmp_path / "model")
    assert "Changed after" not in (tmp_path / "model" / "README.md").read_text()
    pretrain(replace(changed, loop=replace(loop, max_steps=3)))
    export(tmp_path / "run", tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert (
        "Changed after step 2: `steps` 3 (2 before), `data` [`moved`] ([`scenes`] before)" in card
    )
    assert "`lr` 0.001 (0.002 before)" in card
    assert str(tmp_path.parent) not in card


def test_a_run_from_before_changes_were_kept_can_be_exported(
    recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(recipe.loop.output, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    about = json.loads(file.read_text())
    assert about.pop("changes") == []
    file.write_text(json.dumps(about))
    export(tmp_path / "run", tmp_path / "model")
    assert {file.name for file in (tmp_path / "model").iterdir()} == FILES


def test_the_card_of_a_run_without_images_speaks_of_none(tmp_path: Path) -> None:
    card = card_of(RECIPES["sonata"](("org/scenes",), tmp_path))
    assert "By self-supervision on points alone ([Sonata](https://arxiv.org/abs/2503" in card
    assert "2D-3D" not in card
    assert "cross-modal" not in card


def test_an_export_leaves_the_run_as_it_was(recipe: Recipe, tmp_path: Path) -> None:
    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in recipe.loop.output.rglob("*")}

    before = files()
    export(recipe.loop.output, tmp_path / "model")
    assert files() == before


def test_where_curves_cannot_be_drawn_the_runs_own_are_taken(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.warns(ConcertoWarning, match="not drawn: Curves need matplotlib"):
        export(recipe.loop.output, tmp_path / "model")
    assert {file.name for file in (tmp_path / "model").iterdir()} == FILES
    taken = (tmp_path / "model" / "curves.png").read_bytes()
    assert taken == (recipe.loop.output / "curves.png").read_bytes()


def test_a_model_whose_card_cannot_be_made_is_not_begun(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(RECIPES, "concerto-tiny")
    with pytest.raises(KeyError):
        export(recipe.loop.output, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_without_a_licence_the_card_states_none(recipe: Recipe, tmp_path: Path) -> None:
    export(recipe.loop.output, tmp_path / "model")
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.license is None
    assert "None is stated." in card.text


def test_the_published_layout_holds_all_that_was_trained(
    recipe: Recipe, trained: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "state.pth"
    export(recipe.loop.output, file)
    model = concerto.from_pretrained(file)
    assert model.config == recipe.model
    assert holds(model, "student", trained)
    again = Pretraining(recipe).module
    warm_start(again, file)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in again.state_dict().items())
    names = torch.load(file, weights_only=True)["state_dict"]
    assert "module.student.backbone.embedding.stem.linear.weight" in names
    assert "module.teacher.unmask_head.mlp.0.weight" in names


def test_the_published_layout_keeps_the_licence_that_is_asked_for(
    recipe: Recipe, tmp_path: Path
) -> None:
    export(recipe.loop.output, tmp_path / "state.pth", license="mit")
    assert concerto.from_pretrained(tmp_path / "state.pth").config.license == "mit"
    with pytest.raises(InputError, match="student and teacher both"):
        export(recipe.loop.output, tmp_path / "other.pth", teacher=True)
    assert not (tmp_path / "other.pth").exists()


@pytest.mark.usefixtures("logged_in")
def test_a_pushed_model_is_read_back_from_the_hub(
    recipe: Recipe,
    trained: dict[str, torch.Tensor],
    hub: FakeHub,
    load: Loader,
    capsys: pytest.CaptureFixture[str],
) -> None:
    export(recipe.loop.output, push_to_hub="me/kitchen", private=True)
    repo = hub.repos["me/kitchen"]
    assert repo.private
    files = repo.at("main")
    assert files is not None
    assert files.keys() == FILES
    assert 'from_pretrained("me/kitchen")' in files["README.md"].decode()
    assert f"{hub.url}/me/kitchen/commit/" in capsys.readouterr().out
    assert holds(load("me/kitchen"), "student", trained)


def test_a_model_that_started_from_other_weights_names_them(recipe: Recipe, tmp_path: Path) -> None:
    start = ConcertoConfig.from_dict(recipe.model.to_dict()).replace(
        license="cc-by-nc-4.0", base_model="org/published"
    )
    Concerto(start).save_pretrained(tmp_path / "start")
    loop = replace(recipe.loop, output=tmp_path / "run", max_steps=1)
    pretrain(replace(recipe, loop=loop, start_from=str(tmp_path / "start")))
    export(tmp_path / "run", tmp_path / "model")
    text = (tmp_path / "model" / "README.md").read_text()
    assert "license: cc-by-nc-4.0" in text
    assert "| started from | `start` |" in text
    assert "They derive from org/published, whose licence they inherit." in text


def test_what_cannot_be_exported_is_told(recipe: Recipe, tmp_path: Path) -> None:
    run = recipe.loop.output
    with pytest.raises(InputError, match="pass OUT, or --push-to-hub"):
        export(run)
    with pytest.raises(InputError, match="let OUT be a folder"):
        export(run, tmp_path / "state.pth", push_to_hub="me/kitchen")
    with pytest.raises(CheckpointError, match="holds no run"):
        export(tmp_path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_command_ends_in_one_line(recipe: Recipe, tmp_path: Path) -> None:
    export = "concerto.training.export"
    run_here(recipe.loop.output, tmp_path / "out", module=export)
    process = run_here(tmp_path, module=export, code=1)
    assert process.stderr.startswith("error: Nowhere to write to")


def test_the_command_tells_of_a_damaged_checkpoint_in_one_line(
    recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(recipe.loop.output, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step-00000009.pt").write_bytes(b"cut off")
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "run"), str(tmp_path / "out")])
    with warnings.catch_warnings():
        warnings.simplefilter("default", ConcertoWarning)
        main()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("warning: ")
    assert told[0].endswith("Going back to step-00000002.pt.")
