"""Fine-tuning from end to end, on made scenes, in this process and by command."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed import fsdp
from torch.distributed.device_mesh import init_device_mesh

import concerto
from command import run, run_here
from concerto import (
    CheckpointError,
    Concerto,
    ConcertoWarning,
    ConfigError,
    InputError,
    MissingExtraError,
    Segmenter,
)
from concerto.hierarchy import Hierarchy
from concerto.training import probe as probe_command
from concerto.training.evaluate import evaluate
from concerto.training.finetuning import task as finetuning
from concerto.training.finetuning.config import Protocol
from concerto.training.finetuning.frozen_features import frozen_features
from concerto.training.finetuning.linear_probe import LinearFit, fit_linear, gather_features
from concerto.training.finetuning.output import check_output
from concerto.training.probe import labelled_source, load_encoder, main, probe
from concerto.training.run import loop as loop_module
from concerto.training.run.checkpointing import list_checkpoints, read_run_checkpoint
from concerto.training.run.loop import TrainResult, make_accelerator
from concerto.training.run.metrics import read_metrics
from concerto.training.scenes.groups import group_by_scene
from conftest import SMALL
from hub_server import FakeHub
from labelled_rooms import CLASSES, repeated, room
from made_samples import write_prepared
from small_probes import config, make_place

pytestmark = pytest.mark.filterwarnings("ignore::concerto.errors.ConcertoWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms to learn from and to test on, and an encoder with random weights."""
    return make_place(tmp_path_factory.mktemp("probe"))


def encoder_of(folder: Path) -> dict[str, torch.Tensor]:
    return concerto.from_pretrained(folder).model.state_dict()


def test_adapters_of_an_encoder_that_lies_here_alone_are_not_pushed(
    place: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"nobody else can reach.*pass --merge"):
        check_output(config(place, tmp_path, mode="lora", push_to_hub="me/rooms"))


# --- training ------------------------------------------------------------------------------------


def test_the_cached_protocol_learns_the_classes_and_warns_of_those_without_points(
    place: Path, tmp_path: Path
) -> None:
    with pytest.warns(ConcertoWarning, match="No point to learn from has class lamp"):
        probe(config(place, tmp_path / "run", protocol="cached"))
    scores = evaluate(str(tmp_path / "run" / "model"), (str(place / "data"),), tmp_path / "scores")
    assert scores.miou > 0.9
    assert np.isnan(scores.iou[2])
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| lamp | n/a | n/a | 0 |" in card
    assert "means over 2 of 3 classes" in card
    assert "license: mit" in card
    assert "| protocol | cached |" in card


def test_the_cached_protocol_needs_no_tracker(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise MissingExtraError(name)

    monkeypatch.setattr(loop_module, "require_tracker", absent)
    given = config(place, tmp_path, protocol="cached", loop={"tracker": "tensorboard"})
    probe(given)
    with pytest.raises(MissingExtraError, match="tensorboard"):
        make_accelerator(given.loop)


@pytest.mark.parametrize("parts", [1, 2])
def test_features_that_are_not_fitted_to_are_never_put_together_and_the_map_is_the_same(
    parts: int, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = [replace(room(k), scene=f"room_{k // parts}") for k in range(6)]
    data = write_prepared(tmp_path / "data", rooms, classes=CLASSES)
    points = 90
    fit = LinearFit(points=points, iterations=20)
    given = config(place, tmp_path, protocol="cached", data=(str(data),), fit=fit)
    source = labelled_source(given, make_accelerator(given.loop))
    encoder = Concerto.from_pretrained(place / "encoder")
    whole = [frozen_features(encoder, source[k], 3) for k in range(6)]
    scenes = [
        (np.concatenate([whole[k][0] for k in group]), np.concatenate([whole[k][1] for k in group]))
        for group in group_by_scene(source)
    ]
    wanted = fit_linear(gather_features(scenes, len(scenes), points), 3, fit)
    gathered = []
    features = Hierarchy.features

    def spy(*given: Any) -> Any:
        found = features(*given)
        gathered.append(len(found))
        return found

    monkeypatch.setattr(Hierarchy, "features", spy)
    probe(given)
    # Of a scene in parts, which of the labelled rows are kept is drawn when all parts are known.
    most = points // 6 if parts == 1 else max(int((labels >= 0).sum()) for _, labels in whole)
    assert len(gathered) == 6
    assert max(gathered) <= most < min(len(labels) for _, labels in whole)
    found = load_file(tmp_path / "model" / "model.safetensors")
    assert torch.equal(found["head.linear.weight"], wanted.weight)
    assert torch.equal(found["head.linear.bias"], wanted.bias)


@pytest.mark.parametrize("mode", ["linear", "decoder", "full", "lora"])
def test_each_mode_trains_what_it_says_and_saves_a_segmenter(
    mode: finetuning.Mode, place: Path, tmp_path: Path
) -> None:
    probe(config(place, tmp_path, mode=mode))
    segmenter = concerto.from_pretrained(tmp_path / "model")
    assert isinstance(segmenter, Segmenter)
    assert segmenter.config.unseen == ("lamp",)
    before = Concerto.from_pretrained(place / "encoder").state_dict()
    after = segmenter.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if mode in ("linear", "decoder"):
        assert not changed
    elif mode == "lora":
        assert changed
        assert all(name.endswith("attention.qkv.weight") for name in changed)
    else:
        assert len(changed) > 0.9 * len(before)
    losses = [entry for entry in read_metrics(tmp_path) if "lovasz" in entry]
    assert len(losses) == 3
    for entry in losses:
        assert entry["loss"] == pytest.approx(entry["cross_entropy"] + entry["lovasz"])


def test_scenes_that_come_one_at_a_time_are_not_said_to_be_mixed(
    place: Path, tmp_path: Path
) -> None:
    with pytest.warns(ConcertoWarning, match="A forward pass has one scene, so none are mixed"):
        probe(config(place, tmp_path, loop={"accumulate": 2, "max_steps": 1}))
    assert "2 scenes, mixed with p 0 |" in (tmp_path / "model" / "README.md").read_text()


def test_classes_may_be_given_with_spaces_between(place: Path, tmp_path: Path) -> None:
    given = config(place, tmp_path, classes="wall, floor ")
    assert labelled_source(given, make_accelerator(given.loop)).classes == ("wall", "floor")


def test_adapters_are_saved_alone_and_merged_on_request(place: Path, tmp_path: Path) -> None:
    for merge in (False, True):
        probe(config(place, tmp_path / str(merge), mode="lora", merge=merge))
    alone = load_file(tmp_path / "False" / "model" / "model.safetensors")
    assert all(name.startswith(("head.", "lora.encoder.")) for name in alone)
    one, other = (encoder_of(tmp_path / str(merge) / "model") for merge in (False, True))
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    with pytest.raises(ConfigError, match="no adapters"):
        config(place, tmp_path, mode="linear", merge=True)


def test_adapters_know_the_encoder_that_they_were_trained_on(place: Path, tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    Concerto.from_pretrained(place / "encoder").save_pretrained(encoder)
    given = config(place, tmp_path / "run", mode="lora", encoder=str(encoder))
    probe(given)
    torch.manual_seed(1)
    Concerto(SMALL.replace(license="mit")).save_pretrained(encoder)
    probe(replace(given, loop=replace(given.loop, resume=True)))
    with pytest.raises(CheckpointError, match="is a head for another encoder"):
        Segmenter.from_pretrained(tmp_path / "run" / "model")
    Segmenter.from_pretrained(tmp_path / "run" / "model", encoder=place / "encoder")


def test_what_is_sharded_is_saved_whole(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shard(task: finetuning.Finetuning, *_: object, **__: object) -> TrainResult:
        fsdp.fully_shard(task.module, mesh=init_device_mesh("cpu", (1,)))
        return TrainResult(1, 1)

    dist.init_process_group("gloo", f"file://{tmp_path}/store", world_size=1, rank=0)
    monkeypatch.setattr(probe_command, "train", shard)
    try:
        probe(config(place, tmp_path / "run"))
    finally:
        dist.destroy_process_group()
    segmenter = Segmenter.from_pretrained(tmp_path / "run" / "model")
    before = Concerto.from_pretrained(place / "encoder").state_dict()
    assert all(torch.equal(segmenter.model.state_dict()[name], before[name]) for name in before)


def test_adapters_of_a_published_size_are_at_most_two_percent_of_the_weights() -> None:
    from concerto.training.finetuning.adapters import LoraConfig, add_adapters, split_tensors

    with torch.device("meta"):
        encoder = Concerto(concerto.ConcertoConfig.preset("base")).encoder
        whole = sum(tensor.numel() for tensor in encoder.parameters())
        add_adapters(encoder, LoraConfig())
    named = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    own, adapters = split_tensors(named)
    assert sum(tensor.numel() for tensor in own.values()) == whole
    assert sum(tensor.numel() for tensor in adapters.values()) < 0.02 * whole
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert len(trained) == len(adapters) == 2 * sum(SMALL_BASE_DEPTHS)


SMALL_BASE_DEPTHS = concerto.ConcertoConfig.preset("base").depths


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_run_that_was_cut_off_goes_on_exactly(
    mode: finetuning.Mode, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = {"max_steps": 4, "save_every": 2, "keep": 4}
    probe(config(place, tmp_path / "whole", mode=mode, loop=loop))

    def crash(self: object, step: int, *_: object) -> None:
        if step == 2:
            raise KeyboardInterrupt

    cut = config(place, tmp_path / "cut", mode=mode, loop=loop)
    with monkeypatch.context() as patch:
        patch.setattr(finetuning.Finetuning, "after_step", crash)
        with pytest.raises(KeyboardInterrupt):
            probe(cut)
    probe(replace(cut, loop=replace(cut.loop, resume=True)))
    one, other = (
        read_run_checkpoint(list_checkpoints(tmp_path / name)[-1]) for name in ("whole", "cut")
    )
    for name, tensor in one["module"].items():
        assert torch.equal(tensor, other["module"][name]), name


def test_neither_protocol_replaces_a_run(place: Path, tmp_path: Path) -> None:
    given = config(place, tmp_path, protocol="cached")
    probe(given)
    for protocol in ("cached", "published"):
        with pytest.raises(ConfigError, match="already holds a run"):
            probe(replace(given, protocol=protocol))
    probe(replace(given, loop=replace(given.loop, resume=True)))


def test_blocks_learn_slower_than_the_rest(place: Path, tmp_path: Path) -> None:
    given = config(place, tmp_path, mode="full")
    assert given.rates() == (0.001, 0.0001)
    linear = config(place, tmp_path, mode="linear")
    assert linear.rates() == (0.002, 0.0002)
    assert replace(given, lr=0.5).rates() == (0.5, 0.05)
    probe(replace(given, loop=replace(given.loop, max_steps=1)))
    assert max(entry["lr"] for entry in read_metrics(tmp_path)) <= 0.001


def test_drop_path_is_the_encoders_unless_given(place: Path, tmp_path: Path) -> None:
    own = load_encoder(config(place, tmp_path, mode="full"))
    given = config(place, tmp_path, mode="full", drop_path=0.5, license="apache-2.0")
    model = load_encoder(given)
    assert (own.config.drop_path, model.config.drop_path) == (0, 0.5)
    assert model.encoder.stages[-1].blocks[-1].drop == 0.5
    assert model.config.license == "apache-2.0"
    weights = model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in own.state_dict().items())
    probe(replace(given, loop=replace(given.loop, max_steps=1)))
    assert Segmenter.from_pretrained(tmp_path / "model").config.encoder.drop_path == 0.5


def test_the_command_trains_and_evaluates_and_pushes(
    place: Path, tmp_path: Path, hub: FakeHub
) -> None:
    hub.users = {"mine": "me"}
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "mine",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    options = ["--encoder", place / "encoder", "--data", place / "data", "--output", tmp_path / "r"]
    options += ["--mode", "linear", "--protocol", "cached"]
    said = run(*options, "--push-to-hub", "rooms", module="concerto.training.probe", **environment)
    assert "warning: No point to learn from has class lamp" in said.stderr
    files = hub.repos["me/rooms"].at("main")
    assert files.keys() >= {"model.safetensors", "config.json"}
    assert 'Segmenter.from_pretrained("me/rooms")' in files["README.md"].decode()
    said = run_here(
        *(tmp_path / "r" / "model", "--data", place / "data", "--output", tmp_path / "scores"),
        module="concerto.training.evaluate",
    )
    assert "mIoU" in said.stdout


@pytest.mark.parametrize("protocol", ["cached", "published"])
def test_repeated_scenes_change_neither_what_is_learnt_nor_what_is_measured(
    protocol: Protocol, place: Path, tmp_path: Path
) -> None:
    for split, first, count in (("train", 0, 6), ("val", 6, 3)):
        write_prepared(tmp_path / "data", repeated(count, first), split, CLASSES)
    scores = {}
    for name, data in (("once", place / "data"), ("twice", tmp_path / "data")):
        given = config(place, tmp_path / name, protocol=protocol, scenes=0.67, labels=50)
        probe(replace(given, data=(str(data),)))
        model = tmp_path / name / "model"
        scores[name] = evaluate(str(model), (str(data),), tmp_path / f"{name}-scores")
    assert repr(scores["once"]) == repr(scores["twice"])
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in scores]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    about = json.loads((tmp_path / "twice-scores" / "scores.json").read_text())["about"]
    assert "(val), 3 scenes" in about


IN_ONE_GO = "--protocol cached fits the map to the end, in one go: leave"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--protocol", "cached", "--mode", "full"], "--protocol cached computes features once"),
        (["--protocol", "cached", "--lr", 0.1], "--protocol cached fits the map to the end"),
        (["--protocol", "cached", "--weight-decay", 0.1], "--protocol cached takes scenes as they"),
        (["--protocol", "cached", "--views.mix", 0], "--protocol cached takes scenes as they are"),
        (["--protocol", "cached", "--epochs", 5], "--protocol cached fits the map to the end, in"),
        (["--protocol", "cached", "--save-every", 9], "--protocol cached fits the map to the end"),
        (["--protocol", "cached", "--batch-size", 9], f"{IN_ONE_GO} --batch-size out, or take"),
        (["--protocol", "cached", "--log-every", 9], f"{IN_ONE_GO} --log-every out, or take"),
        (["--protocol", "cached", "--tracker", "wandb"], f"{IN_ONE_GO} --tracker out, or take"),
        (["--protocol", "cached", "--workers", 0], f"{IN_ONE_GO} --workers out, or take"),
        (["--lora.rank", 4], "--lora.… is for --mode lora; other modes have no adapters."),
        (["--decoder.depths", 1, 1, 1, 1], "--decoder.… is for --mode decoder and full; --mode l"),
        (["--fit.points", 10], "--fit.… is how --protocol cached fits the map"),
        (["--merge"], "--merge is for --mode lora; other modes have no adapters."),
        (["--views.mix", 3], "views.mix is 3; it is a share in 0 … 1."),
        (["--views.most-points", 0], "views.most_points is 0; it must be at least 1."),
        (["--mode", "lora", "--lora.rank", 0], "lora.rank is 0; an adapter is at least 1 wide."),
        (["--lora.alpha", 0], "lora.alpha is 0; it must be over 0."),
        (["--lora.dropout", 1], "lora.dropout is 1; it must be from 0 to below 1."),
        (["--fit.weight-decays", 0.1, -1], "fit.weight_decays is 0.1, -1; give at least one"),
        (["--fit.points", 0], "fit.points is 0; it must be at least 1."),
        (["--lr", 0], "--lr is 0; a learning rate is over 0."),
        (["--drop-path", 0.3], "--drop-path is for --mode lora, decoder and full; --mode linear"),
        (["--mode", "full", "--drop-path", 1], "--drop-path is 1; it must be from 0 to below 1."),
        (["--weight-decay", -1], "--weight-decay is -1; it must be 0 or more."),
        (["--views.mix", 0, "--accumulate", 0], "accumulate is 0; it must be an integer from"),
        (["--workers", -1], "--workers is -1; 0 prepares scenes without any."),
    ],
)
def test_a_value_out_of_range_is_said_in_one_line(
    options: list[object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--encoder", "x", "--data", "y", "--output", "z", *options]
    monkeypatch.setattr(sys, "argv", ["probe", *map(str, given)])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as end:
        main()
    assert str(end.value).startswith(f"error: {said}")
    assert "\n" not in str(end.value)


def test_an_option_that_is_none_is_refused_as_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["probe", "--mode", "best"])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "invalid choice 'best'" in capsys.readouterr().err
