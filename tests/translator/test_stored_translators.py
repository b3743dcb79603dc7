"""Translators on disk and on the Hub, with their encoder inside or by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from word_tower import WIDTH, WordTower

import concerto
from concerto import (
    CheckpointError,
    Concerto,
    ConfigError,
    HubError,
    PointCloud,
    Translator,
    TranslatorConfig,
)
from concerto.translator.card import translator_card
from conftest import SMALL, random_cloud
from hub_server import FakeHub


@pytest.fixture(scope="module")
def translator() -> Translator:
    torch.manual_seed(0)
    return Translator(TranslatorConfig(SMALL, "words", WIDTH), tower=WordTower()).eval()


@pytest.fixture(scope="module")
def cloud() -> PointCloud:
    return random_cloud(3000)


def over(encoder: Path) -> TranslatorConfig:
    """Of a translator that is stored without its encoder."""
    return TranslatorConfig(
        SMALL, "words", WIDTH, encoder_source=str(encoder), encoder_inside=False
    )


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"stages": 5}, "stages is 5"),
        ({"width": 0}, "width is 0; it must be an integer from 1 on"),
        ({"encoder_source": 5}, "encoder_source is 5; it must be a text"),
        ({"encoder_digest": 5}, "encoder_digest is 5; it must be a text"),
        ({"encoder_inside": "no"}, "encoder_inside is 'no'; it must be true or false"),
        ({"encoder": 5}, "encoder is 5; it must be an object with fields"),
        ({"names": "chair"}, "names is 'chair'"),
        ({"names": ["chair", " "]}, "a name cannot be empty"),
        ({"tower": "minilm"}, "keys that this version does not know: tower"),
    ],
)
def test_a_file_that_does_not_describe_a_translator_says_what_is_wrong(
    changes: dict, trouble: str, translator: Translator, tmp_path: Path
) -> None:
    translator.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(ConfigError, match=trouble) as caught:
        concerto.from_pretrained(tmp_path)
    assert str(config) in str(caught.value)


def test_what_is_saved_is_what_is_loaded(
    translator: Translator, cloud: PointCloud, tmp_path: Path
) -> None:
    translator.save_pretrained(tmp_path)
    for again in (concerto.from_pretrained(tmp_path), Translator.from_pretrained(tmp_path)):
        assert isinstance(again, Translator)
        assert again.config == translator.config
        torch.testing.assert_close(again.embed(cloud), translator.embed(cloud))
    half = Translator.from_pretrained(tmp_path, dtype="bfloat16")
    assert half.map.weight.dtype == torch.bfloat16
    assert F.cosine_similarity(half.embed(cloud), translator.embed(cloud)).min() > 0.98
    assert "Ask a point cloud in words" in (tmp_path / "README.md").read_text()


def test_an_encoder_that_cuts_other_voxels_cuts_them_when_it_is_loaded_too(
    cloud: PointCloud, tmp_path: Path
) -> None:
    encoder = Concerto(SMALL.replace(grid_size=0.1)).eval()
    translator = Translator(TranslatorConfig(SMALL, "words", WIDTH), encoder).eval()
    translator.save_pretrained(tmp_path)
    again = Translator.from_pretrained(tmp_path)
    assert again.encoder.config == encoder.config
    torch.testing.assert_close(again.embed(cloud), translator.embed(cloud))


def test_an_encoder_left_out_is_fetched_and_must_be_the_same(
    cloud: PointCloud, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    encoder = Concerto(SMALL).eval()
    encoder.save_pretrained(tmp_path / "encoder")
    config = over(tmp_path / "encoder")
    translator = Translator(config, encoder).eval()
    translator.save_pretrained(tmp_path / "map")
    assert (tmp_path / "map" / "model.safetensors").stat().st_size < 10_000
    again = Translator.from_pretrained(tmp_path / "map")
    torch.testing.assert_close(again.embed(cloud), translator.embed(cloud))
    Concerto(SMALL).save_pretrained(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="no longer the encoder"):
        Translator.from_pretrained(tmp_path / "map")


def test_a_translator_over_a_compiled_encoder_finds_the_plain_one_again(tmp_path: Path) -> None:
    encoder = Concerto(SMALL)
    encoder.save_pretrained(tmp_path / "encoder")
    config = over(tmp_path / "encoder")
    encoder.encoder = torch.compile(encoder.encoder, backend="eager")
    Translator(config, encoder).save_pretrained(tmp_path / "map")
    assert isinstance(concerto.from_pretrained(tmp_path / "map"), Translator)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_translator_that_was_cast_finds_its_encoder_again(
    dtype: torch.dtype, cloud: PointCloud, tmp_path: Path
) -> None:
    config = TranslatorConfig(
        concerto.from_pretrained("concerto-tiny").config,
        "words",
        WIDTH,
        encoder_source="concerto-tiny",
        encoder_inside=False,
    )
    translator = Translator(config, concerto.from_pretrained("concerto-tiny")).eval()
    translator.to(dtype).save_pretrained(tmp_path)
    again = Translator.from_pretrained(tmp_path)
    assert torch.equal(again.map.weight, translator.map.weight.float())
    assert F.cosine_similarity(again.embed(cloud), translator.embed(cloud)).min() > 0.98
    # And once more, from what it was loaded with.
    again.save_pretrained(tmp_path)
    Translator.from_pretrained(tmp_path, dtype=dtype).save_pretrained(tmp_path)
    Translator.from_pretrained(tmp_path)


@pytest.mark.usefixtures("logged_in")
def test_what_is_pushed_is_what_is_read_back(
    translator: Translator, hub: FakeHub, tmp_path: Path
) -> None:
    translator.push_to_hub("me/words")
    assert 'Translator.from_pretrained("me/words")' in (
        hub.repos["me/words"].at("main")["README.md"].decode()
    )
    again = concerto.from_pretrained("me/words", cache_dir=tmp_path)
    assert isinstance(again, Translator)
    assert torch.equal(again.map.weight, translator.map.weight)


def test_a_card_does_not_tell_where_on_a_machine_encoder_and_tower_lay() -> None:
    tower = "sentence:/home/me/mini"
    config = TranslatorConfig(SMALL, tower, WIDTH, encoder_source="/home/me/encoder")
    card = translator_card(config)
    assert "/home/me" not in card
    assert "| text tower | sentence:`mini` |" in card
    assert "base_model" not in card
    named = translator_card(config.replace(encoder_source="me/encoder@v1"))
    assert "base_model: me/encoder" in named
    assert "from me/encoder@v1" in named


def test_kinds_are_not_taken_for_each_other(translator: Translator, tmp_path: Path) -> None:
    translator.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"Load it with concerto\.Translator"):
        Concerto.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"an encoder, which concerto\.from_pretrained loads"):
        Translator.from_pretrained("concerto-tiny")


def test_the_unpublished_translator_says_how_to_train_one() -> None:
    for load in (concerto.from_pretrained, Translator.from_pretrained):
        with pytest.raises(HubError, match=r"nobody has published.*concerto\.training\.translate"):
            load("concerto-large-clip")
