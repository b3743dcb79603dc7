"""Fine-tuning and evaluation from end to end, on made scenes, in this process and by command."""

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
from command import run
from concerto import (
    CheckpointError,
    Concerto,
    ConcertoWarning,
    ConfigError,
    InputError,
    Segmenter,
)
from concerto.heads import DecoderConfig
from concerto.training import finetuning
from concerto.training import probe as probe_command
from concerto.training.checkpointing import list_checkpoints, read_checkpoint
from concerto.training.evaluate import evaluate
from concerto.training.evaluate import main as main_of_evaluate
from concerto.training.loop import LoopConfig, TrainResult, make_accelerator
from concerto.training.metrics import read_metrics
from concerto.training.parquet_scenes import ParquetScenes
from concerto.training.probe import labelled_source, main, probe
from concerto.training.probe_config import ProbeConfig, Protocol
from concerto.training.probe_output import check_output
from concerto.training.scenes import open_scenes
from concerto.training.scores import Confusion
from concerto.training.votes import moved, view_matrices, vote
from conftest import SMALL
from hub_server import FakeHub
from labelled_rooms import CLASSES, repeated, room
from made_samples import labelled, write_prepared

DECODER = DecoderConfig(depths=(1, 1, 1, 1), channels=(8, 16, 16, 24), heads=(1, 2, 2, 3))
pytestmark = pytest.mark.filterwarnings("ignore::concerto.errors.ConcertoWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms to learn from and to test on, and an encoder with random weights."""
    folder = tmp_path_factory.mktemp("probe")
    write_prepared(folder / "data", [room(k) for k in range(6)], classes=CLASSES)
    write_prepared(folder / "data", [room(k) for k in range(6, 9)], "val", CLASSES)
    torch.manual_seed(0)
    Concerto(SMALL.replace(license="mit")).save_pretrained(folder / "encoder")
    return folder


def config(place: Path, output: Path, **changes: Any) -> ProbeConfig:
    loop = {"batch_size": 2, "max_steps": 3, "tracker": "none", "log_every": 1}
    loop |= changes.pop("loop", {})
    values: dict[str, Any] = {
        "encoder": str(place / "encoder"),
        "data": (str(place / "data"),),
        "workers": 0,
    }
    if changes.get("mode") in ("decoder", "full"):
        values["decoder"] = DECODER
    return ProbeConfig(loop=LoopConfig(output, **loop), **(values | changes))


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


@pytest.mark.skipif(not hasattr(fsdp, "fully_shard"), reason="FSDP 2 needs torch 2.6")
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
    from concerto.training.adapters import LoraConfig, add_adapters, split_adapters

    with torch.device("meta"):
        encoder = Concerto(concerto.ConcertoConfig.preset("base")).encoder
        whole = sum(tensor.numel() for tensor in encoder.parameters())
        add_adapters(encoder, LoraConfig())
    own, adapters = split_adapters(encoder)
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
        read_checkpoint(list_checkpoints(tmp_path / name)[-1]) for name in ("whole", "cut")
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
    options += ["--batch-size", 2, "--mode", "linear", "--protocol", "cached"]
    said = run(
        *options, "--push-to-hub", "me/rooms", module="concerto.training.probe", **environment
    )
    assert "warning: No point to learn from has class lamp" in said.stderr
    assert hub.repos["me/rooms"].at("main").keys() >= {"model.safetensors", "config.json"}
    said = run(
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--protocol", "cached", "--mode", "full"], "--protocol cached computes features once"),
        (["--protocol", "cached", "--lr", 0.1], "--protocol cached fits the map to the end"),
        (["--protocol", "cached", "--weight-decay", 0.1], "--protocol cached takes scenes as they"),
        (["--protocol", "cached", "--views.mix", 0], "--protocol cached takes scenes as they are"),
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
        (["--weight-decay", -1], "--weight-decay is -1; it must be 0 or more."),
        (["--views.mix", 0, "--accumulate", 0], "accumulate is 0; it must be at least 1."),
        (["--workers", -1], "--workers is -1; 0 prepares scenes without any."),
    ],
)
def test_a_value_out_of_range_is_said_in_one_line(
    options: list[object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--encoder", "x", "--data", "y", "--output", "z", "--batch-size", 2, *options]
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


# --- evaluation ----------------------------------------------------------------------------------


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


def test_votes_are_of_thirteen_views_and_do_no_harm(place: Path, trained: Path) -> None:
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
    from concerto.training.pictures import cloud_of

    found = vote(segmenter, cloud_of(sample)).numpy()
    known = sample.segment >= 0
    assert (found == sample.segment)[known].mean() > 0.9


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
