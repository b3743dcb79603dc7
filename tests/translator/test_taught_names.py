"""A translator that labels taught, whose `segment` goes by the names that it was taught."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from word_tower import WIDTH, WordTower

import concerto
from concerto import ConfigError, InputError, PointCloud, Translator, TranslatorConfig
from concerto.translator.alternatives import through_names
from conftest import SMALL, random_cloud
from hub_server import FakeHub

NAMES = ("sofa", "bed", "floor", "wall")


def taught(*names: str) -> Translator:
    torch.manual_seed(0)
    config = TranslatorConfig(SMALL, "words", WIDTH, names=names)
    return Translator(config, tower=WordTower()).eval()


@pytest.fixture(scope="module")
def translator() -> Translator:
    return taught(*NAMES)


@pytest.fixture(scope="module")
def cloud() -> PointCloud:
    return random_cloud(2000)


def test_a_segment_is_the_softmax_of_cosines_with_mixtures(
    translator: Translator, cloud: PointCloud
) -> None:
    texts = ["thing", "floor", "couch"]
    asked, names = translator.texts(texts), translator.texts(NAMES)
    cosines = through_names(asked, names, names, 0.1).cosines(translator.embed(cloud))
    probability, label = (cosines / 0.3).softmax(1).max(1)
    found = translator.segment(cloud, texts[:2], background="couch", temperature=0.3)
    torch.testing.assert_close(found.probability, probability)
    assert torch.equal(found.label, torch.where(label == 2, -1, label))
    assert (found.label == -1).any()


def test_a_text_given_twice_takes_nothing_from_itself(
    translator: Translator, cloud: PointCloud
) -> None:
    once = translator.segment(cloud, ["couch", "bed", "floor"]).label
    thrice = translator.segment(cloud, ["couch", "bed", "couch", "floor", "couch"]).label
    assert torch.equal(thrice, torch.tensor([0, 1, 3])[once])
    same = translator.segment(cloud, ["couch", "bed", "floor"], background=["couch", "bed"]).label
    assert torch.equal(same, once)


def test_a_hierarchy_and_a_list_are_answered_alike(
    translator: Translator, cloud: PointCloud
) -> None:
    wanted = translator.segment(cloud, ["couch", "bed"])
    with torch.no_grad():
        hierarchy = translator.encoder.hierarchy(cloud)
    for found in (
        translator.segment(hierarchy, ["couch", "bed"]),
        *translator.segment([cloud, cloud], ["couch", "bed"]),
    ):
        assert torch.equal(found.label, wanted.label)
        torch.testing.assert_close(found.probability, wanted.probability)


@pytest.mark.parametrize("names", [(), ("sofa",)])
def test_without_a_choice_of_names_texts_speak_for_themselves(
    names: tuple[str, ...], cloud: PointCloud
) -> None:
    translator = taught(*names)
    texts = ["couch", "bed", "floor"]
    assert torch.equal(translator.segment(cloud, texts).label, translator(cloud, texts).argmax(1))


def test_ten_thousand_classes_are_told_apart(translator: Translator) -> None:
    found = translator.segment(random_cloud(60), [f"thing{n}" for n in range(10_000)])
    assert found.probability.isfinite().all()
    assert (found.probability > 0).all()


def test_an_encoder_of_half_precision_tells_the_same(
    translator: Translator, cloud: PointCloud, tmp_path: Path
) -> None:
    translator.save_pretrained(tmp_path)
    half = Translator.from_pretrained(tmp_path, dtype="bfloat16")
    half.texts = translator.texts
    found = half.segment(cloud, NAMES)
    assert found.probability.dtype == torch.float32
    assert (found.label == translator.segment(cloud, NAMES).label).float().mean() > 0.9


def test_a_config_from_before_names_were_kept_still_loads(tmp_path: Path) -> None:
    taught().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())
    del values["names"], values["name_templates"]
    file.write_text(json.dumps(values))
    assert Translator.from_pretrained(tmp_path).config.names == ()


@pytest.mark.usefixtures("logged_in")
def test_a_pushed_translator_keeps_its_names_and_its_card_tells_them(
    hub: FakeHub, tmp_path: Path
) -> None:
    config = TranslatorConfig(
        SMALL, "words", WIDTH, names=("sofa", "left|right"), name_templates=("a {}.", "the {}")
    )
    Translator(config).push_to_hub("me/words")
    card = hub.repos["me/words"].at("main")["README.md"].decode()
    assert "| names taught | sofa, left\\|right |\n| taught in | a {}., the {} |\n" in card
    again = concerto.from_pretrained("me/words", cache_dir=tmp_path)
    assert isinstance(again, Translator)
    assert again.config == config


@pytest.mark.parametrize("names", [3, None, "sofa", ("sofa", 1)])
def test_names_that_are_no_texts_are_refused(names: object) -> None:
    with pytest.raises(ConfigError, match=r"names is .* a sequence of texts"):
        TranslatorConfig(SMALL, "words", WIDTH, names=names)  # type: ignore[arg-type]


@pytest.mark.parametrize("sentences", [(), ("a thing",), ("{} {}",)])
def test_sentences_without_a_place_for_the_name_are_refused(sentences: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"name_templates is .* one \{\} each"):
        TranslatorConfig(SMALL, "words", WIDTH, name_templates=sentences)


@pytest.mark.parametrize("texts", [None, 3, b"sofa"])
def test_what_is_no_text_is_refused(
    translator: Translator, cloud: PointCloud, texts: object
) -> None:
    for ask in (translator, translator.segment, translator.find):
        with pytest.raises(InputError, match=r"The texts are a .* pass a string"):
            ask(cloud, texts)


def test_find_says_what_it_looks_in(translator: Translator, cloud: PointCloud) -> None:
    with pytest.raises(InputError, match=r"list of 2\. Call it for each"):
        translator.find([cloud, cloud], "sofa")
    with torch.no_grad():
        hierarchy = translator.encoder.hierarchy(cloud)
    with pytest.raises(InputError, match="find needs the points too"):
        translator.find(hierarchy, "sofa")
    together = {"coord": cloud.coord.repeat(2, 1), "offset": [len(cloud), 2 * len(cloud)]}
    with pytest.raises(InputError, match=r"one scene at a time; these points are of 2\. Call it"):
        translator.find(together, "sofa")
    with torch.no_grad():
        several = translator.encoder.hierarchy([cloud, cloud])
        single = translator.encoder.hierarchy([cloud])
    with pytest.raises(InputError, match="the hierarchy is of 2"):
        translator.find(cloud, "sofa", hierarchy=several)
    wanted = translator.find(cloud, "sofa", threshold=0.0)
    for options in ({"hierarchy": hierarchy}, {"hierarchy": single}):
        found = translator.find(cloud, "sofa", threshold=0.0, **options)
        assert [region.points.tolist() for region in found] == [
            region.points.tolist() for region in wanted
        ]


@pytest.mark.parametrize("temperature", [5e-324, 1e-45, 1e-38])
def test_however_cold_the_nearest_class_has_all_the_probability(
    translator: Translator, cloud: PointCloud, temperature: float
) -> None:
    warm = translator.segment(cloud, ["chair", "lamp"])
    cold = translator.segment(cloud, ["chair", "lamp"], temperature=temperature)
    assert torch.equal(cold.label, warm.label)
    assert torch.equal(cold.probability, torch.ones(len(cloud)))
    for region in translator.find(cloud, "chair", threshold=0.0, temperature=temperature):
        assert region.score == region.score
