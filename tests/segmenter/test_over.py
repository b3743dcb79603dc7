"""Heads saved alone, and adapters, over the encoder that they were trained on and no other."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from saved_heads import save_over

import concerto
from concerto import CheckpointError, Concerto, ConfigError, HubError, Segmenter
from concerto.segmenter.over import fingerprint, merge_adapters, same_prints
from conftest import SMALL, random_cloud, relative_l2
from small_segmenters import made


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
