"""Segmenters in files and on the Hub: what is saved comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import concerto
from concerto import CheckpointError, Concerto, ConfigError, Segmenter
from concerto.checkpoints import write_published
from concerto.known_models import find_model
from concerto.palette import SCANNET_CLASSES
from concerto.segmenter.card import write_results
from concerto.weight_files import OWN_FIELDS_KEY
from conftest import SMALL, Loader, random_cloud, relative_l2
from hub_server import FakeHub, Repo
from small_segmenters import HEADS, made


def test_a_segmenter_over_a_compiled_encoder_is_saved_as_over_a_plain_one(tmp_path: Path) -> None:
    segmenter = made()
    names = set(segmenter.state_dict())
    segmenter.model.encoder = torch.compile(segmenter.model.encoder, backend="eager")
    segmenter.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == names
    assert isinstance(concerto.from_pretrained(tmp_path), Segmenter)


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
