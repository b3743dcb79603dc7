"""Segmenters: what they return, and what comes back from files and the Hub."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from saved_heads import save_over

import concerto
from concerto import (
    CheckpointError,
    Concerto,
    ConfigError,
    HubError,
    InputError,
    Segmenter,
    SegmenterConfig,
)
from concerto.checkpoints import write_published
from concerto.heads import DecoderConfig, KnnConfig, LinearConfig
from concerto.known_models import find_model
from concerto.palette import SCANNET_CLASSES, distinct_colors
from concerto.segmenter_card import write_results
from concerto.segmenter_files import fingerprint, merge_adapters, same_prints
from concerto.weight_files import OWN_FIELDS_KEY
from conftest import SMALL, Loader, random_cloud, relative_l2
from hub_server import FakeHub, Repo

CLASSES = ("wall", "floor", "chair")
HEADS = (
    LinearConfig(),
    DecoderConfig(depths=(1, 1, 1, 1), channels=(8, 16, 16, 24), heads=(1, 2, 2, 3)),
    KnnConfig(rows=9),
)


def made(head: object = HEADS[0]) -> Segmenter:
    torch.manual_seed(1)
    segmenter = Segmenter(SegmenterConfig(SMALL, head, CLASSES)).eval()
    if isinstance(head, KnnConfig):
        segmenter.head.features.normal_()
        segmenter.head.labels.copy_(torch.arange(9) % 3)
    return segmenter


# --- what it gives -------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_every_point_gets_the_most_likely_class(head: object) -> None:
    segmenter, cloud = made(head), random_cloud(400)
    classes, shares = segmenter(cloud), segmenter.probabilities(cloud)
    assert (classes.shape, classes.dtype) == ((400,), torch.int64)
    assert shares.shape == (400, 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(400))
    assert torch.equal(shares.argmax(1), classes)
    assert torch.equal(segmenter.segment(cloud), classes)
    several = segmenter([cloud, random_cloud(90, seed=4)])
    assert torch.equal(several[0], classes)
    assert len(several[1]) == 90


def test_a_segmenter_answers_in_training_as_in_evaluation() -> None:
    torch.manual_seed(1)
    config = SegmenterConfig(SMALL.replace(drop_path=0.5), HEADS[1], CLASSES)
    segmenter, cloud = Segmenter(config).eval(), random_cloud(3000)
    shares, things = segmenter.probabilities(cloud), segmenter.instances(cloud, min_points=5)
    segmenter.train()
    segmenter.head.stages[0].eval()
    for _ in range(2):
        assert torch.equal(segmenter.probabilities(cloud), shares)
        assert torch.equal(segmenter(cloud), shares.argmax(1))
        assert torch.equal(segmenter.instances(cloud, min_points=5).instance, things.instance)
    assert segmenter.head.training
    assert not segmenter.head.stages[0].training


def test_points_left_out_have_no_class() -> None:
    points = random_cloud(300).coord
    points[7] = torch.nan
    segmenter = made()
    assert segmenter(points, drop_invalid=True)[7] == -1
    assert not segmenter.probabilities(points, drop_invalid=True)[7].any()
    things = segmenter.instances(points, drop_invalid=True)
    assert (things.segment[7], things.instance[7]) == (-1, -1)


def test_things_are_of_one_class_and_numbered_by_size() -> None:
    segmenter, cloud = made(), random_cloud(3000, extent=0.5)
    things = segmenter.instances(cloud, similarity=0.5, min_points=5)
    assert torch.equal(things.segment, segmenter(cloud))
    counts = things.instance[things.instance >= 0].bincount()
    assert counts.min() >= 5
    assert (counts.diff() <= 0).all()
    for number in range(len(counts)):
        assert len(things.segment[things.instance == number].unique()) == 1
    assert len(segmenter.instances([cloud, cloud])) == 2


@pytest.mark.parametrize(
    ("option", "values"),
    [("similarity", (3, "0.9", None, float("nan"))), ("min_points", (0, "5", None, 2.5))],
)
def test_what_bounds_no_thing_is_refused(option: str, values: tuple) -> None:
    for value in values:
        with pytest.raises(InputError, match=f"{option} is {value!r}; it"):
            made().instances(random_cloud(50), **{option: value})


def test_things_of_scenes_packed_together_have_numbers_of_their_own() -> None:
    segmenter = made()
    clouds = [random_cloud(1500, seed, extent=0.5) for seed in (0, 4)]
    options = {"similarity": 0.5, "min_points": 5}
    alone = segmenter.instances(clouds, **options)
    batch = torch.arange(3000) % 2
    coord, color, normal = (
        torch.stack([getattr(cloud, name) for cloud in clouds], dim=1).flatten(0, 1)
        for name in ("coord", "color", "normal")
    )
    packed = segmenter.instances(
        {"coord": coord, "color": color, "normal": normal, "batch": batch}, **options
    )
    for number, one in enumerate(alone):
        assert torch.equal(packed.segment[batch == number], one.segment)
    first, second = (packed.instance[batch == number] for number in (0, 1))
    assert torch.equal(first, alone[0].instance)
    shift = alone[0].instance.max() + 1
    assert torch.equal(second, torch.where(alone[1].instance < 0, -1, alone[1].instance + shift))
    assert alone[1].instance.max() >= 0


def test_colours_of_classes_are_all_different() -> None:
    assert len(set(distinct_colors(60))) == 60
    assert made().palette.shape == (3, 3)


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"classes": ()}, "name at least one"),
        ({"classes": ("a", "a")}, "each once"),
        ({"palette": ((1, 2, 3),)}, "1 colours for 3 classes"),
        ({"unseen": ("lamp",)}, "not all of these are classes"),
        ({"classes": "abc"}, "classes is 'abc'; it must be a sequence of texts"),
        ({"classes": ("a", 2)}, r"classes is \('a', 2\)"),
        ({"unseen": "abc"}, "unseen is 'abc'"),
        ({"palette": ((1, 2), (1, 2, 3), (4, 5, 6))}, r"palette has \(1, 2\); a colour is three"),
        ({"palette": ((999, 2, 3),) * 3}, "palette has .*from 0 to 255"),
        ({"palette": ((-5, 2, 3),) * 3}, "palette has .*from 0 to 255"),
        ({"palette": 7}, "palette is 7"),
        ({"head": "linear"}, "head is str; it must be a LinearConfig"),
        ({"encoder": "tiny"}, "encoder is str; it must be a ConcertoConfig"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(changes: dict, trouble: str) -> None:
    values = {"encoder": SMALL, "head": LinearConfig(), "classes": CLASSES} | changes
    with pytest.raises(ConfigError, match=trouble):
        SegmenterConfig(**values)


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_what_is_saved_is_what_comes_back_as_its_own_class(head: object, tmp_path: Path) -> None:
    segmenter = made(head)
    segmenter.save_pretrained(tmp_path)
    again = concerto.from_pretrained(tmp_path)
    assert isinstance(again, Segmenter)
    assert again.config == segmenter.config
    assert not again.training
    cloud = random_cloud(300)
    assert relative_l2(again.probabilities(cloud), segmenter.probabilities(cloud)) < 1e-5
    assert Segmenter.from_pretrained(tmp_path, dtype="bfloat16").model.dtype == torch.bfloat16
    assert "0 wall, 1 floor, 2 chair" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"head": {"type": "linear", "stages": "ab"}}, "stages is 'ab'"),
        ({"head": {"type": "linear", "stages": [7]}}, r"stages \(7,\); the encoder has 0 to 4"),
        ({"head": {"type": "linear", "width": 3}}, "The linear head has keys .* know: width"),
        ({"head": {"type": "knn"}}, "The knn head lacks rows"),
        ({"head": {"type": ["linear"]}}, r"type is \['linear'\]; it must be one of linear, decod"),
        ({"head": "linear"}, "head is 'linear'; it must be an object with fields"),
        ({"encoder": 3}, "encoder is 3; it must be an object with fields"),
        ({"encoder": {"depths": 3}}, "depths is 3"),
        ({"classes": "abc"}, "classes is 'abc'"),
        ({"palette": [[0, 0]] * 3}, r"palette has \[0, 0\]"),
        ({"over": "x"}, "over is 'x'; it must be an object with fields"),
        ({"over": {}}, "over lacks source"),
        ({"over": {"source": "concerto-tiny", "rank": 3}}, "over has keys .* know: rank"),
        ({"over": {"source": 3}}, "source is 3; it must be a text"),
        ({"over": {"source": "concerto-tiny", "fingerprint": 3}}, "fingerprint is 3"),
        ({"over": {"source": "concerto-tiny", "lora_scale": "x"}}, "lora_scale is 'x'"),
        ({"colours": 3}, "keys that this version does not know: colours"),
    ],
)
def test_a_file_that_does_not_describe_a_segmenter_says_what_is_wrong(
    changes: dict, trouble: str, tmp_path: Path
) -> None:
    made().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(ConfigError, match=trouble):
        concerto.from_pretrained(tmp_path)


def test_each_class_refuses_the_others_files(tmp_path: Path) -> None:
    made().save_pretrained(tmp_path / "segmenter")
    Concerto(SMALL).save_pretrained(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match=r"Load it with concerto\.Segmenter"):
        Concerto.from_pretrained(tmp_path / "segmenter")
    with pytest.raises(CheckpointError, match="An encoder has no classes"):
        Segmenter.from_pretrained(tmp_path / "encoder")
    assert isinstance(concerto.from_pretrained(tmp_path / "encoder"), Concerto)


def test_a_head_saved_alone_finds_its_encoder_and_refuses_another(tmp_path: Path) -> None:
    segmenter, cloud = made(), random_cloud(300)
    save_over(tmp_path / "head", tmp_path / "encoder", segmenter)
    again = concerto.from_pretrained(tmp_path / "head")
    assert relative_l2(again.probabilities(cloud), segmenter.probabilities(cloud)) < 1e-5
    torch.manual_seed(5)
    Concerto(SMALL).save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match="is a head for another encoder"):
        Segmenter.from_pretrained(tmp_path / "head", encoder=tmp_path / "other")
    (tmp_path / "encoder").rename(tmp_path / "moved")
    with pytest.raises(HubError, match=r"head without its encoder.* elsewhere, pass encoder="):
        Segmenter.from_pretrained(tmp_path / "head")
    moved = Segmenter.from_pretrained(tmp_path / "head", encoder=tmp_path / "moved")
    assert torch.equal(moved(cloud), segmenter(cloud))


def test_another_encoder_for_a_segmenter_that_brings_its_own_is_refused(tmp_path: Path) -> None:
    made().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"brings its own encoder; encoder='concerto-tiny' is"):
        Segmenter.from_pretrained(tmp_path, encoder="concerto-tiny")


def test_adapters_are_added_to_the_encoder(tmp_path: Path) -> None:
    segmenter = made()
    name = "encoder.stages.3.blocks.1.attention.qkv"
    down, up = torch.randn(2, 24), torch.randn(72, 2)
    save_over(
        tmp_path / "head",
        tmp_path / "encoder",
        segmenter,
        **{f"lora.{name}.a": down, f"lora.{name}.b": up},
    )
    again = Segmenter.from_pretrained(tmp_path / "head").model.state_dict()
    before = segmenter.model.state_dict()
    changed = {key for key in before if not torch.equal(before[key], again[key])}
    assert changed == {f"{name}.weight"}
    torch.testing.assert_close(again[f"{name}.weight"], before[f"{name}.weight"] + 2 * up @ down)
    assert fingerprint(before) != fingerprint(again)


@pytest.mark.parametrize(("down", "up"), [((2, 16), (72, 2)), ((2, 24), (72, 3)), ((24,), (72,))])
def test_adapters_of_another_encoder_are_refused_with_the_shapes(
    down: tuple[int, ...], up: tuple[int, ...]
) -> None:
    key = "encoder.stages.3.blocks.1.attention.qkv"
    adapters = {f"lora.{key}.a": torch.zeros(down), f"lora.{key}.b": torch.zeros(up)}
    with pytest.raises(CheckpointError, match=r"qkv\.weight is \(72.*the encoder's .*\(72, 24\)"):
        merge_adapters(made().model.state_dict(), adapters, 1.0)


@pytest.mark.parametrize(
    ("kept", "given"),
    [
        pair
        for pair in product((torch.float64, torch.float32, torch.bfloat16, torch.float16), repeat=2)
        # Of two ways to round the same weights, neither tells what the other was made of.
        if set(pair) != {torch.bfloat16, torch.float16}
    ],
)
def test_a_fingerprint_is_known_again_at_another_precision(
    kept: torch.dtype, given: torch.dtype
) -> None:
    state = made().model.state_dict()
    # A little less than halfway between two numbers of bfloat16, and halfway in float16.
    state["encoder.embedding.linear.weight"].view(-1)[0] = 1 + 3 * 2**-8 - 2**-13
    saved, found = (
        fingerprint({name: tensor.to(dtype) for name, tensor in state.items()})
        for dtype in (kept, given)
    )
    assert same_prints(saved, found)
    torch.manual_seed(5)
    assert not same_prints(saved, fingerprint(Concerto(SMALL).state_dict()))


def test_a_fingerprint_of_an_earlier_version_is_known() -> None:
    state = made().model.state_dict()
    print_now = fingerprint(state)
    assert len(print_now) == 32
    assert same_prints(print_now[:16], print_now)
    assert not same_prints(print_now[:15] + "-", print_now)


def test_a_head_of_an_encoder_at_half_precision_finds_it(tmp_path: Path) -> None:
    segmenter, cloud = made(), random_cloud(300)
    save_over(tmp_path / "head", tmp_path / "encoder", segmenter)
    shares = segmenter.probabilities(cloud)
    half = Segmenter.from_pretrained(tmp_path / "head", dtype="float16")
    half.model.save_pretrained(tmp_path / "half")
    again = Segmenter.from_pretrained(tmp_path / "head", encoder=tmp_path / "half")
    assert relative_l2(again.probabilities(cloud), shares) < 0.02


def test_a_head_over_an_encoder_in_float8_loads_in_what_models_compute_in(tmp_path: Path) -> None:
    segmenter = made()
    segmenter.model.to(torch.float8_e5m2)
    save_over(tmp_path / "head", tmp_path / "encoder", segmenter)
    assert Segmenter.from_pretrained(tmp_path / "head").model.dtype == torch.float32
    with pytest.raises(CheckpointError, match="float8_e5m2"):
        Segmenter.from_pretrained(tmp_path / "head", dtype="auto")


@pytest.mark.parametrize("name", ["concerto-large-scannet", "sonata-scannet"])
def test_a_published_head_is_read_over_its_encoder(
    name: str, hub: FakeHub, load: Loader, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    encoder = Concerto(SMALL)
    write_published(tmp_path / "encoder.pth", SMALL, encoder.state_dict())
    published = torch.load(tmp_path / "encoder.pth")
    # The authors' files say nothing of licences and preprocessing.
    del published[OWN_FIELDS_KEY]
    torch.save(published, tmp_path / "encoder.pth")
    weight, bias = torch.randn(20, sum(SMALL.channels)), torch.randn(20)
    content = {
        "config": {"backbone_out_channels": sum(SMALL.channels), "num_classes": 20},
        "state_dict": {"seg_head.weight": weight, "seg_head.bias": bias},
    }
    torch.save(content, tmp_path / "head.pth")
    entry = find_model(name)
    assert entry is not None
    beneath = find_model(str(entry.over))
    assert beneath is not None
    hub.repos[str(entry.repo)] = Repo(
        {
            str(entry.filename): (tmp_path / "head.pth").read_bytes(),
            str(beneath.filename): (tmp_path / "encoder.pth").read_bytes(),
        }
    )
    segmenter = load(name)
    assert isinstance(segmenter, Segmenter)
    assert segmenter.classes == SCANNET_CLASSES
    assert segmenter.config.encoder.license == "cc-by-nc-4.0"
    cloud = random_cloud(300)
    features = encoder.eval().encode(cloud, stages="all")
    torch.testing.assert_close(
        segmenter.probabilities(cloud),
        (features @ weight.T + bias).softmax(1),
        atol=1e-5,
        rtol=1e-4,
    )
    # A file of that head under any name, beside an encoder that is named.
    for load_head in (Segmenter.from_pretrained, concerto.from_pretrained):
        again = load_head(tmp_path / "head.pth", encoder=tmp_path / "encoder.pth")
        assert torch.equal(again(cloud), segmenter(cloud))
        with pytest.raises(CheckpointError, match="pass encoder="):
            load_head(tmp_path / "head.pth")
    Concerto(SMALL.replace(channels=(8, 16, 16, 24, 64))).save_pretrained(tmp_path / "wider")
    with pytest.raises(CheckpointError, match=r"96 channels.*128 together: .* another encoder"):
        Segmenter.from_pretrained(tmp_path / "head.pth", encoder=tmp_path / "wider")


@pytest.mark.usefixtures("logged_in")
def test_a_segmenter_goes_to_the_hub_and_back(hub: FakeHub, load: Loader, tmp_path: Path) -> None:
    segmenter = made()
    segmenter.push_to_hub("me/rooms")
    files = hub.repos["me/rooms"].at("main")
    assert files is not None
    assert 'from_pretrained("me/rooms")' in files["README.md"].decode()
    assert load("me/rooms").config == segmenter.config
    (tmp_path / "w.safetensors").write_bytes(files["model.safetensors"])
    assert load_file(tmp_path / "w.safetensors").keys() == segmenter.state_dict().keys()


def test_results_take_their_place_in_the_card_alone(tmp_path: Path) -> None:
    made().save_pretrained(tmp_path)
    card = tmp_path / "README.md"
    before = card.read_text()
    assert write_results(card, "mIoU 12.3")
    assert write_results(card, "mIoU 45.6")
    text = card.read_text()
    assert "mIoU 45.6" in text
    assert "12.3" not in text
    assert "Nothing was measured" not in text
    assert text.split("## Results")[0] == before.split("## Results")[0]
    card.write_text("# Mine")
    assert not write_results(card, "mIoU 1")
    assert card.read_text() == "# Mine"
