"""What is wrong with a file of weights is said, and nothing in it is run."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import concerto
from concerto import CheckpointError, Concerto, ConfigError
from concerto.weight_files import read_weights
from conftest import SMALL

BIAS = "enc.enc0.block0.mlp.0.fc1.bias"
Change = Callable[[dict[str, Any]], object]


def rewrite(file: Path, change: Change) -> Path:
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)
    return file


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 0.999])
def test_a_truncated_file_is_called_so(published: Path, share: float) -> None:
    content = published.read_bytes()
    published.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"damaged or cut short"):
        concerto.from_pretrained(published)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.9])
def test_truncated_safetensors_are_called_so(tmp_path: Path, share: float) -> None:
    Concerto(SMALL).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"damaged or cut short"):
        concerto.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>Not found</html>", "looks like a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"ply\nformat ascii 1.0\n", "looks like a scan"),
        (b"\x80\x04garbage", "neither a torch file of plain tensors nor safetensors"),
        (b"", "neither a torch file"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_called_what_it_is(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as refusal:
        concerto.from_pretrained(file)
    assert "weights_only" not in str(refusal.value)


def test_a_file_damaged_in_the_middle_is_called_so(published: Path) -> None:
    content = bytearray(published.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    published.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checksum of .* is wrong"):
        concerto.from_pretrained(published)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("is_archive", [True, False])
def test_whatever_bytes_are_damaged_the_file_is_called_so(is_archive: bool, tmp_path: Path) -> None:
    content = {"state_dict": {f"w{number}": torch.zeros(2, 3) for number in range(4)}}
    file, chance = tmp_path / "weights.pth", random.Random(0)
    torch.save(content, file, _use_new_zipfile_serialization=is_archive)
    whole, refused = file.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            read_weights(file)
        except CheckpointError:
            refused += 1
    assert refused > 150


class Exploit:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return threading.Thread, ()


def test_code_in_a_pickle_is_refused_by_name(published: Path) -> None:
    rewrite(published, lambda content: content.update(extra=Exploit()))
    with pytest.raises(CheckpointError, match=r"asks to run threading\.Thread"):
        concerto.from_pretrained(published)


def test_code_in_a_pickle_of_torchs_older_format_is_refused_too(published: Path) -> None:
    torch.save({"extra": Exploit()}, published, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"asks to run threading\.Thread"):
        concerto.from_pretrained(published)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(
            lambda content: content["state_dict"].pop("enc.enc1.down.proj.weight"),
            *(CheckpointError, r"lacks 1 tensors: encoder\.stages\.1\.down\.linear"),
            id="a missing tensor",
        ),
        pytest.param(
            lambda content: content["state_dict"].update({BIAS: torch.zeros(5)}),
            *(CheckpointError, r"fc1\.bias is \(5,\) instead of \(32,\)"),
            id="a misshaped tensor",
        ),
        pytest.param(
            lambda content: content["state_dict"].update({BIAS: torch.zeros(32).long()}),
            *(CheckpointError, r"no real numbers in 1 tensors: .*torch\.int64"),
            id="a tensor of no real numbers",
        ),
        pytest.param(
            lambda content: content["state_dict"].update({"dec.dec0.up.weight": torch.zeros(1)}),
            *(CheckpointError, r"no place for 1 tensors: dec\.dec0\.up\.weight"),
            id="a tensor without a place",
        ),
        pytest.param(
            lambda content: content["config"].update(dec_depths=(1, 1)),
            *(ConfigError, "no published encoder uses: dec_depths"),
            id="an unknown key of the config",
        ),
        pytest.param(
            lambda content: content.pop("config"),
            *(CheckpointError, r"weights\.pth has no config.*heads of 16"),
            id="heads that cannot be guessed",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    published: Path, change: Change, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        concerto.from_pretrained(rewrite(published, change))


@pytest.mark.parametrize(
    "change",
    [
        {"mlp_ratio": "4"},
        {"drop_path": None},
        {"qkv_bias": "false"},
        {"in_channels": 9.0},
        {"in_channels": 6},
        {"enc_depths": 2},
        {"enc_patch_size": 1024},
        {"enc_channels": (8, 16)},
        {"enc_num_head": (3, 2, 2, 3, 4)},
        {"stride": 4},
        {"stride": None},
    ],
)
def test_a_config_of_odd_values_is_refused_with_the_files_name(
    published: Path, change: dict[str, object]
) -> None:
    rewrite(published, lambda content: content["config"].update(change))
    with pytest.raises(ConfigError, match=r"weights\.pth: "):
        concerto.from_pretrained(published)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("enable_rpe", True),
        ("pre_norm", False),
        ("layer_scale", 1e-5),
        ("enc_mode", False),
        ("order", ("z", "hilbert")),
        ("stride", (2, 2, 4, 2)),
        ("qk_scale", 0.3),
    ],
)
def test_config_keys_that_no_published_encoder_uses_are_refused_by_name(
    published: Path, key: str, value: object
) -> None:
    rewrite(published, lambda content: content["config"].update({key: value}))
    with pytest.raises(ConfigError, match=f"{key}="):
        concerto.from_pretrained(published)


def test_a_segmentation_head_is_not_taken_for_an_encoder(tmp_path: Path) -> None:
    head = {"seg_head.weight": torch.zeros(20, 1728), "seg_head.bias": torch.zeros(20)}
    torch.save({"config": {"num_classes": 20}, "state_dict": head}, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match="segmentation head without its encoder"):
        concerto.from_pretrained(tmp_path / "head.pth")


def test_our_config_with_an_unknown_key_or_kind_is_refused(tmp_path: Path) -> None:
    Concerto(SMALL).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"window": 3}))
    with pytest.raises(ConfigError, match=r"window.*newer version"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="model_type='bert'"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": ["x"]}))
    with pytest.raises(CheckpointError, match=r"model_type=\['x'\]"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"a": ' * 100_000)
    with pytest.raises(CheckpointError, match="too deeply"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json beside it"):
        concerto.from_pretrained(tmp_path)
