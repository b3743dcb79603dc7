"""Evaluation from end to end, on made scenes, in this process and by command."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import concerto
from concerto import ConcertoWarning, ConfigError, InputError, Segmenter
from concerto.training.evaluate import evaluate
from concerto.training.evaluate import main as main_of_evaluate
from concerto.training.probe import probe
from concerto.training.scenes.parquet import ParquetScenes
from concerto.training.scenes.sources import open_scenes
from concerto.training.scores.confusion import Confusion
from concerto.training.scores.push import check_measured
from concerto.training.scores.votes import moved, view_matrices, vote
from hub_server import FakeHub
from labelled_rooms import CLASSES, room
from made_samples import labelled, write_prepared
from small_probes import config, make_place

pytestmark = pytest.mark.filterwarnings("ignore::concerto.errors.ConcertoWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms to learn from and to test on, and an encoder with random weights."""
    return make_place(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def trained(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe(config(place, folder, protocol="cached"))
    return folder / "model"


def test_an_evaluation_that_was_cut_off_goes_on(
    place: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (str(place / "data"),)
    whole = evaluate(str(trained), data, tmp_path / "whole")
    first = tmp_path / "cut"
    first.mkdir()
    lines = (tmp_path / "whole" / "scenes.jsonl").read_text().splitlines()
    (first / "scenes.jsonl").write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])
    seen = []
    add = Confusion.add
    monkeypatch.setattr(Confusion, "add", lambda self, *a: (seen.append(1), add(self, *a))[1])
    assert repr(evaluate(str(trained), data, first)) == repr(whole)
    assert len(seen) == 1
    with pytest.raises(ConfigError, match="another votes"):
        evaluate(str(trained), data, first, votes=True)
    found = json.loads((first / "scores.json").read_text())
    assert found["miou"] == whole.miou
    assert found["classes"]["lamp"]["iou"] is None
    assert (first / "confusion.png").stat().st_size > 1000


def test_only_scenes_that_have_changed_are_measured_anew(
    place: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = [room(k) for k in range(6, 9)]
    folder, output = tmp_path / "data", tmp_path / "scores"
    write_prepared(folder, rooms, "val", CLASSES)
    before = evaluate(str(trained), (str(folder),), output)
    seen = []
    add = Confusion.add
    monkeypatch.setattr(Confusion, "add", lambda self, *a: (seen.append(1), add(self, *a))[1])
    assert repr(evaluate(str(trained), (str(folder),), output)) == repr(before)
    assert not seen
    # As many points and scenes of the same names; the labels of one have been mended.
    assert rooms[1].segment is not None
    other = np.where(rooms[1].segment >= 0, 1 - rooms[1].segment, -1).astype(np.int16)
    shutil.rmtree(folder)
    write_prepared(folder, [rooms[0], replace(rooms[1], segment=other), rooms[2]], "val", CLASSES)
    after = evaluate(str(trained), (str(folder),), output)
    assert len(seen) == 1
    assert after.miou < before.miou
    monkeypatch.undo()
    assert repr(evaluate(str(trained), (str(folder),), tmp_path / "anew")) == repr(after)


@pytest.mark.usefixtures("logged_in")
def test_a_measured_segmenter_goes_to_the_hub_with_its_scores_and_its_story(
    place: Path, trained: Path, tmp_path: Path, hub: FakeHub
) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    data, output = (str(place / "data"),), tmp_path / "scores"
    scores = evaluate(str(model), data, output, push_to_hub="rooms")
    files = hub.repos["me/rooms"].at("main")
    assert files.keys() >= {"model.safetensors", "config.json"}
    card = files["README.md"].decode()
    assert 'Segmenter.from_pretrained("me/rooms")' in card
    assert "| protocol | cached |" in card
    assert f"{100 * scores.miou:.1f}" in card
    assert "Nothing was measured" not in card
    assert card == (model / "README.md").read_text(encoding="utf-8")
    (model / "README.md").unlink()
    with pytest.raises(InputError, match=r"uploads a folder that training left.*has no README"):
        evaluate(str(model), data, output, push_to_hub="rooms")


@pytest.mark.usefixtures("logged_in")
def test_no_repo_is_made_for_what_is_refused(
    place: Path, trained: Path, tmp_path: Path, hub: FakeHub
) -> None:
    model, output = tmp_path / "model", tmp_path / "scores"
    shutil.copytree(trained, model)
    data = (str(place / "data"),)
    with pytest.raises(InputError, match="no split 'test'"):
        evaluate(str(model), data, output, split="test", push_to_hub="rooms")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write to"):
        evaluate(str(model), data, tmp_path / "file", push_to_hub="rooms")
    other = {"model": "", "data": [], "split": "val", "votes": False, "classes": []}
    output.mkdir()
    (output / "scenes.jsonl").write_text(json.dumps(other) + "\n")
    with pytest.raises(ConfigError, match="another model and data and classes"):
        evaluate(str(model), data, output, push_to_hub="rooms")
    (model / "README.md").write_text("# My own words")
    with pytest.raises(InputError, match=r"README.md has no place for the scores.*<!-- results"):
        evaluate(str(model), data, output, overwrite=True, push_to_hub="rooms")
    assert json.loads((output / "scenes.jsonl").read_text()) == other
    assert not hub.repos


def test_a_model_in_a_read_only_folder_is_measured_but_not_pushed(
    place: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, opened = (str(place / "data"),), os.open

    def refuse(path: Any, *given: Any, **named: Any) -> int:
        if Path(path).parent == trained:
            raise PermissionError(13, "Permission denied")
        return opened(path, *given, **named)

    # Not by the folder's own rights, which say nothing to an administrator.
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "access", lambda path, *_: Path(path) != trained)
    with pytest.warns(ConcertoWarning, match=r"The card stays as it was: Cannot write .*README"):
        scores = evaluate(str(trained), data, tmp_path / "scores")
    assert f"{100 * scores.miou:.1f}" in capsys.readouterr().out
    assert (tmp_path / "scores" / "scores.json").exists()
    monkeypatch.setattr(Confusion, "add", lambda *_: pytest.fail("said too late"))
    with pytest.raises(InputError, match=r"Cannot write to .*: no permission"):
        evaluate(str(trained), data, tmp_path / "pushed", push_to_hub="rooms")


def test_an_evaluation_by_an_earlier_version_is_told_as_such(
    place: Path, trained: Path, tmp_path: Path
) -> None:
    data, file = (str(place / "data"),), tmp_path / "scenes.jsonl"
    whole = evaluate(str(trained), data, tmp_path)
    settings = json.loads(file.read_text().splitlines()[0])
    for key in ("scenes", "samples"):
        file.write_text(json.dumps(settings | {key: 3}) + "\n")
        with pytest.raises(ConfigError, match=r"by another version.*replace it with --overwrite"):
            evaluate(str(trained), data, tmp_path)
    assert repr(evaluate(str(trained), data, tmp_path, overwrite=True)) == repr(whole)


@pytest.mark.parametrize(
    ("source", "reached"),
    [
        *(("/moved/encoder", False), ("./encoder", False), ("~/encoder.pth", False)),
        *(("me/encoder@main", True), ("concerto-tiny", True)),
    ],
)
def test_a_head_is_pushed_only_over_an_encoder_that_others_reach(
    tmp_path: Path, source: str, reached: bool
) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps({"over": {"source": source}}))
    (tmp_path / "README.md").write_text("<!-- results -->\n<!-- end of results -->")
    if reached:
        check_measured(str(tmp_path))
    else:
        with pytest.raises(InputError, match=r"which nobody else can reach: train with --merge"):
            check_measured(str(tmp_path))


def test_adapters_of_an_encoder_that_lies_here_alone_are_not_pushed(
    place: Path, tmp_path: Path
) -> None:
    probe(config(place, tmp_path / "run", mode="lora"))
    model, data = str(tmp_path / "run" / "model"), (str(place / "data"),)
    with pytest.raises(InputError, match=r"which nobody else can reach: train with --merge"):
        evaluate(model, data, tmp_path / "scores", push_to_hub="rooms")


def test_an_interruption_is_one_line(
    place: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Confusion, "add", interrupt)
    arguments = [trained, "--data", place / "data", "--output", tmp_path]
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit, match="interrupted; the same command goes on"):
        main_of_evaluate()


def test_votes_are_the_sum_of_what_thirteen_views_say(place: Path, trained: Path) -> None:
    views = view_matrices()
    assert len(views) == 13
    assert sorted({round(float(view.det().abs() ** (1 / 3)), 3) for view in views}) == [
        0.95,
        1,
        1.05,
    ]
    cloud = concerto.PointCloud(
        torch.rand(50, 3), None, torch.nn.functional.normalize(torch.randn(50, 3))
    )
    turned = moved(cloud, views[1])
    assert turned.normal is not None
    torch.testing.assert_close(turned.normal.norm(dim=1), torch.ones(50))
    segmenter = Segmenter.from_pretrained(trained)
    sample = open_scenes(place / "data", split="val")[0]
    assert sample.segment is not None
    cloud = sample.cloud()
    together = sum(segmenter.probabilities(moved(cloud, view)) for view in views)
    assert torch.equal(vote(segmenter, cloud), together.argmax(1))
    found = vote(segmenter, cloud).numpy()
    known = sample.segment >= 0
    assert (found == sample.segment)[known].mean() > 0.8


def test_views_that_vote_lie_where_the_cloud_does() -> None:
    cloud = concerto.PointCloud(torch.rand(50, 3) + torch.tensor([9.0, -5.0, -2.0]))
    low, high = cloud.coord[:, 2].aminmax()
    for matrix in view_matrices():
        turned = moved(cloud, matrix)
        torch.testing.assert_close(turned.coord.mean(0), cloud.coord.mean(0))
        assert low - 0.1 < turned.coord[:, 2].min() < turned.coord[:, 2].max() < high + 0.1


def test_adapters_are_measured_with_their_encoder_wherever_it_lies(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved"
    (place / "encoder").rename(moved)
    try:
        probe(config(place, tmp_path / "run", mode="lora", encoder=str(moved)))
        moved.rename(place / "encoder")
        arguments = [tmp_path / "run" / "model", "--data", place / "data", "--output"]
        arguments.append(tmp_path / "scores")
        monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        with pytest.raises(SystemExit, match=r"head without its encoder.*pass --encoder"):
            main_of_evaluate()
        sys.argv += ["--encoder", str(place / "encoder")]
        main_of_evaluate()
    finally:
        if moved.exists():
            moved.rename(place / "encoder")
    assert (tmp_path / "scores" / "scores.json").exists()


def test_data_of_other_classes_are_not_compared(trained: Path, tmp_path: Path) -> None:
    other = write_prepared(tmp_path / "data", [labelled(0)], "val", ("a", "b", "c"))
    with pytest.raises(InputError, match=r"classes are floor, wall, lamp.*which are a, b, c"):
        evaluate(str(trained), (str(other),), tmp_path / "scores")
    with pytest.raises(InputError, match="no split 'test'"):
        evaluate(str(trained), (str(other),), tmp_path / "scores", split="test")


def test_scenes_without_labels_among_others_are_neither_learnt_from_nor_measured(
    place: Path, trained: Path, tmp_path: Path
) -> None:
    for split, first, count in (("train", 0, 6), ("val", 6, 3)):
        rooms = [room(k) for k in range(first, first + count)]
        plain = [replace(room(k + 50), segment=None) for k in range(count)]
        mixed = [one for pair in zip(plain, rooms, strict=True) for one in pair]
        write_prepared(tmp_path / "data", mixed, split, CLASSES)
    data = (str(tmp_path / "data"),)
    with pytest.warns(ConcertoWarning, match="6 of the 12 samples have no labels"):
        probe(config(place, tmp_path / "run", protocol="cached", data=data))
    given, wanted = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "run" / "model", trained)
    )
    assert all(torch.equal(given[name], wanted[name]) for name in wanted)
    # Half of them would be too many broken ones.
    probe(config(place, tmp_path / "steps", data=data, loop={"max_steps": 12}))
    with pytest.warns(ConcertoWarning, match="3 of the 6 samples have no labels"):
        scores = evaluate(str(trained), data, tmp_path / "scores")
    assert repr(scores) == repr(evaluate(str(trained), (str(place / "data"),), tmp_path / "other"))


def test_an_evaluation_says_which_scene_cannot_be_encoded(
    place: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ParquetScenes.__getitem__
    broken = np.full_like(open_scenes(place / "data", split="val")[0].coord, np.nan)
    monkeypatch.setattr(
        ParquetScenes,
        "__getitem__",
        lambda source, index: replace(read(source, index), coord=broken),
    )
    with pytest.raises(InputError, match=r"Sample 'room.*': coord is NaN"):
        evaluate(str(trained), (str(place / "data"),), tmp_path / "scores")
