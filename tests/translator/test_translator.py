"""`Translator` over a small random encoder and small text towers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from word_tower import WIDTH, WordTower

import concerto
from concerto import (
    Concerto,
    ConcertoWarning,
    ConfigError,
    InputError,
    PointCloud,
    Translator,
    TranslatorConfig,
)
from concerto.translator.projection import SLICE_ROWS, Projection
from concerto.translator.same_vectors import same_vectors
from concerto.translator.texts import TextFeatures
from conftest import SMALL, random_cloud


@pytest.fixture(scope="module")
def translator() -> Translator:
    torch.manual_seed(0)
    return Translator(TranslatorConfig(SMALL, "words", WIDTH), tower=WordTower()).eval()


@pytest.fixture(scope="module")
def cloud() -> PointCloud:
    return random_cloud(3000)


def straight(translator: Translator, points: PointCloud) -> Tensor:
    """What the map says of each point, without any of the ways to save work."""
    features = translator.encoder.encode(points, stages=translator.config.chosen)
    return F.normalize(translator.map(features).detach(), dim=1)


@pytest.mark.parametrize("stages", [(2, 3, 4), (0, 1, 2, 3, 4), (1, 4), (4,)])
def test_scores_are_the_cosines_of_each_point_with_each_text(
    stages: tuple[int, ...], cloud: PointCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    config = TranslatorConfig(SMALL, "words", WIDTH, stages)
    translator = Translator(config, tower=WordTower()).eval()
    # So that slices end within levels.
    monkeypatch.setattr("concerto.translator.projection.SLICE_ROWS", 100)
    texts = ["chair", "wooden table", "lamp"]
    wanted = straight(translator, cloud) @ translator.texts(texts).T
    given = translator(cloud, texts)
    assert given.shape == (3000, 3)
    torch.testing.assert_close(given, wanted)
    torch.testing.assert_close(translator.embed(cloud), straight(translator, cloud))


def test_scenes_in_a_list_are_answered_each_as_if_alone(
    translator: Translator, cloud: PointCloud
) -> None:
    other = random_cloud(500, seed=1)
    scores = translator([cloud, other], ["chair"])
    assert [len(one) for one in scores] == [3000, 500]
    torch.testing.assert_close(scores[1], translator(other, ["chair"]))
    labels = translator.segment([cloud, other], ["chair", "table"])
    assert [len(one.label) for one in labels] == [3000, 500]


def test_a_scan_is_encoded_once_and_asked_often(translator: Translator, cloud: PointCloud) -> None:
    with torch.no_grad():
        hierarchy = translator.encoder.hierarchy(cloud)
    torch.testing.assert_close(translator(hierarchy, "chair"), translator(cloud, ["chair"]))
    with pytest.raises(InputError, match="scale has no say"):
        translator(hierarchy, "chair", scale=2.0)
    with pytest.raises(InputError, match="grid_size has no say"):
        translator.find(cloud, "chair", hierarchy=hierarchy, grid_size=0.05, color_range=(0, 1))
    features = translator.encoder.encode(cloud)
    torch.testing.assert_close(translator.translate(features), translator.embed(cloud))


def test_answers_hold_no_graph_also_where_the_scan_was_encoded_with_one(
    translator: Translator, cloud: PointCloud
) -> None:
    hierarchy = translator.encoder.hierarchy(cloud)
    assert hierarchy.levels[-1].feat.requires_grad
    assert not translator(hierarchy, "chair").requires_grad
    assert not translator.embed(hierarchy).requires_grad
    assert not translator.segment(hierarchy, ["chair", "table"]).probability.requires_grad


def test_a_point_left_out_answers_to_nothing(translator: Translator, cloud: PointCloud) -> None:
    coord = cloud.coord.clone()
    coord[7] = torch.nan
    broken = PointCloud(coord, cloud.color, cloud.normal)
    assert translator(broken, ["chair"], drop_invalid=True)[7] == 0
    found = translator.segment(broken, ["chair", "table"], drop_invalid=True)
    assert found.label[7] == -1
    assert found.probability[7] == 0
    assert (found.label[:7] >= 0).all()


def test_a_segment_is_the_softmax_of_cosines(translator: Translator, cloud: PointCloud) -> None:
    found = translator.segment(cloud, ["chair", "table"], temperature=0.3, background="stuff")
    wanted = (translator(cloud, ["chair", "table", "stuff"]) / 0.3).softmax(1)
    probability, label = wanted.max(1)
    torch.testing.assert_close(found.probability, probability)
    assert torch.equal(found.label, torch.where(label == 2, -1, label))
    assert (found.label == -1).any()
    all_of_them = translator.segment(cloud, ["chair", "table"], background=[]).label
    assert torch.equal(all_of_them, translator.segment(cloud, ["chair", "table"]).label)
    sharper = translator.segment(cloud, ["chair", "table", "stuff"])
    assert sharper.probability.mean() > found.probability.mean()


def test_templates_are_averaged_as_unit_vectors(translator: Translator) -> None:
    both = translator.texts("chair", ["a {}", "{} here"])
    each = torch.cat([translator.texts("a chair"), translator.texts("chair here")])
    torch.testing.assert_close(both, F.normalize(each.mean(0, keepdim=True), dim=1))
    for wrong in (["chair"], [], ["{} {}"], 5, [5]):
        with pytest.raises(InputError, match=r"one \{\} each"):
            translator.texts("chair", wrong)


def test_a_text_is_encoded_once(cloud: PointCloud) -> None:
    tower = WordTower()
    translator = Translator(TranslatorConfig(SMALL, "words", WIDTH), tower=tower).eval()
    translator(cloud, ["chair", "table", "chair"])
    translator(cloud, ["table", "lamp"])
    assert tower.asked == ["chair", "table", "lamp"]


def test_threads_use_a_tower_one_at_a_time() -> None:
    inside, most = [0], [0]

    class Watched(WordTower):
        def encode(self, texts: Sequence[str], device: torch.device) -> Tensor:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1
            return super().encode(texts, device)

        def too_long(self, texts: Sequence[str]) -> list[bool]:
            self.encode(texts, torch.device("cpu"))
            return super().too_long(texts)

    texts = TextFeatures(TranslatorConfig(SMALL, "words", WIDTH), Watched())
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(texts, [f"thing{number}" for number in range(8)]))
    assert most == [1]
    again = TextFeatures(TranslatorConfig(SMALL, "words", WIDTH), WordTower())
    for number, vector in enumerate(found):
        assert torch.equal(vector, again(f"thing{number}"))


def test_neither_tower_nor_texts_are_in_the_state(translator: Translator) -> None:
    names = {name.split(".")[0] for name in translator.state_dict()}
    assert names == {"map", "encoder"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no texts"),
        (["chair", " "], "Text 1 of 2 is empty"),
        ("", "is empty"),
        (["chair", 3], "Text 1 is a int"),
        (["chair", "\ud800"], r"Text 1 is '\\ud800', which is no valid Unicode"),
    ],
)
def test_texts_that_say_nothing_are_refused(
    translator: Translator, cloud: PointCloud, texts: list[str], message: str
) -> None:
    for ask in (translator, translator.segment):
        with pytest.raises(InputError, match=message):
            ask(cloud, texts)


def test_a_text_longer_than_the_tower_reads_is_cut_with_a_warning(translator: Translator) -> None:
    with pytest.warns(ConcertoWarning, match="words reads only the beginning of 'a very long"):
        cut = translator.texts("a very long text")
    torch.testing.assert_close(cut, translator.texts("a very long"))


def test_ten_thousand_texts_are_answered(translator: Translator) -> None:
    cloud = random_cloud(60)
    texts = [f"thing{number}" for number in range(10_000)]
    scores = translator(cloud, texts)
    assert scores.shape == (60, 10_000)
    assert torch.equal(translator.segment(cloud, texts).label, scores.argmax(1))


@pytest.mark.parametrize(
    ("place", "name"), [(concerto.Hierarchy, "at_points"), (Projection, "reduce")]
)
def test_an_answer_that_fits_no_memory_is_told(
    place: type,
    name: str,
    translator: Translator,
    cloud: PointCloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(place, name, full)
    with pytest.raises(InputError, match="2 values for each of 3,000 points"):
        translator(cloud, ["chair", "table"])
    with pytest.raises(InputError, match=f"{WIDTH} values for each of 3,000 points"):
        translator.embed(cloud)


def test_features_at_hand_may_be_an_array_or_a_list(
    translator: Translator, cloud: PointCloud
) -> None:
    features = translator.encoder.encode(cloud)
    wanted = translator.translate(features)
    for given in (features.numpy(), features.double().numpy(), features.tolist()):
        assert torch.equal(translator.translate(given), wanted)
    with pytest.raises(InputError, match="features has dtype"):
        translator.translate("room1.npz")


def test_features_of_other_stages_are_refused(translator: Translator, cloud: PointCloud) -> None:
    features = translator.encoder.encode(cloud, stages="all")
    with pytest.raises(InputError, match=r"shape \(3000, 96\); the map takes \(N, 72\)"):
        translator.translate(features)
    wider = Concerto(SMALL.replace(channels=(8, 16, 16, 24, 64)))
    with pytest.raises(InputError, match="takes 72 channels"), torch.no_grad():
        translator(wider.hierarchy(cloud), "chair")
    fewer = Concerto(
        SMALL.replace(
            channels=(8, 16), depths=(1, 1), heads=(1, 2), patch_size=(64, 64), default_stages=(1,)
        )
    )
    with pytest.raises(InputError, match="have 2 stages"), torch.no_grad():
        translator(fewer.hierarchy(cloud), "chair")


def test_parts_of_other_widths_are_refused() -> None:
    config = TranslatorConfig(SMALL, "words", WIDTH)
    with pytest.raises(ConfigError, match="tower words gives vectors of 5 dimensions"):
        Translator(config, tower=WordTower(5))
    other = Concerto(SMALL.replace(channels=(8, 16, 16, 24, 64)))
    with pytest.raises(ConfigError, match="not the encoder that the map reads"):
        Translator(config, other)
    with pytest.raises(InputError, match="stages is"):
        TranslatorConfig(SMALL, "words", WIDTH, (2, 7))
    with pytest.raises(ConfigError, match="needs encoder_source"):
        TranslatorConfig(SMALL, "words", WIDTH, encoder_inside=False)


def test_slices_bound_what_is_held(translator: Translator, cloud: PointCloud) -> None:
    with torch.no_grad():
        projection = Projection(translator.encoder.hierarchy(cloud), (2, 3, 4), translator.map)
    seen: list[int] = []
    projection.reduce(lambda vectors: seen.append(len(vectors)) or vectors[:, :1], values=2**19)
    assert max(seen) == min(2**24 // 2**19, SLICE_ROWS)
    assert sum(seen) == len(projection)


@pytest.mark.parametrize("others", [{}, {"background": []}, {"background": "chair"}])
def test_a_class_without_an_alternative_is_refused_before_encoding(
    translator: Translator,
    cloud: PointCloud,
    others: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Concerto, "infer", lambda *_, **__: pytest.fail("It was encoded."))
    for classes in (["chair"], ["chair", "chair"]):
        with pytest.raises(
            InputError, match=r"would be 'chair', the only class.*background=.*find"
        ):
            translator.segment(cloud, classes, **others)


def test_classes_in_one_text_are_refused_with_the_list_that_is_meant(
    translator: Translator, cloud: PointCloud
) -> None:
    with pytest.raises(InputError, match=r"is the text 'a, b'; .*such as \['a', 'b'\]"):
        translator.segment(cloud, "a, b")


class LowerCase(WordTower):
    """Knows no capitals, and only the letters of English."""

    def encode(self, texts: Sequence[str], device: torch.device) -> Tensor:
        known = ["".join(c if c.isascii() else "?" for c in text.lower()) for text in texts]
        noise = torch.rand(len(texts), 1, generator=torch.Generator().manual_seed(0))
        # As where texts are encoded in other company.
        return super().encode(known, device) * (1 + 1e-6 * noise)

    def unknown(self, texts: Sequence[str]) -> list[bool]:
        return [not text.isascii() for text in texts]


@pytest.fixture
def lower() -> Translator:
    torch.manual_seed(0)
    return Translator(TranslatorConfig(SMALL, "words", WIDTH), tower=LowerCase()).eval()


def warnings_of(ask: Callable[[], object]) -> list[str]:
    """What one warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask()
    return [str(one.message) for one in caught if one.category is ConcertoWarning]


def test_texts_that_the_tower_does_not_know_or_tell_apart_are_told(lower: Translator) -> None:
    told = warnings_of(lambda: lower.texts(["床", "a bed", "门"]))
    assert len(told) == 2
    assert "words has no token for some of what is in '床', and in 1 other sentences" in told[0]
    assert "words gives '门' the same vector as '床': nothing is nearer" in told[1]
    assert not warnings_of(lambda: lower.texts(["床", "a bed", "门"]))
    assert not warnings_of(lambda: lower.texts(["chair", "table"]))
    (told_later,) = warnings_of(lambda: lower.texts(["Chair", "table", "chair", "CHAIR"]))
    assert "gives 'chair' the same vector as 'Chair', as it does with 1 other" in told_later
    for one in ("Lamp", "lamp"):
        assert not warnings_of(lambda: lower.texts(one))  # noqa: B023 - called at once
    assert len(warnings_of(lambda: lower.texts(["Lamp", "lamp"]))) == 1


def test_texts_that_stand_for_one_thing_may_have_the_same_vector(
    lower: Translator, cloud: PointCloud
) -> None:
    def segment(classes: list[str], background: list[str]) -> Callable[[], object]:
        return lambda: lower.segment(cloud, classes, background=background)

    assert not warnings_of(lambda: lower.texts(["lamp", "lamp"]))
    assert not warnings_of(segment(["chair", "chair"], ["Stuff", "stuff"]))
    assert not warnings_of(lambda: lower.find(cloud, "sofa", against=["Thing", "thing"]))
    (told,) = warnings_of(segment(["chair", "table"], ["Table"]))
    assert "gives 'Table' the same vector as 'table'" in told
    (told,) = warnings_of(lambda: lower.find(cloud, "desk", against=["Desk", "thing"]))
    assert "gives 'Desk' the same vector as 'desk'" in told


def test_the_same_vectors_are_found_in_any_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concerto.translator.same_vectors.SLICE_ROWS", 3)
    vectors = F.normalize(torch.randn(10, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    vectors[7], vectors[8], vectors[4] = vectors[1], vectors[1], vectors[3]
    assert same_vectors(vectors, range(10)) == [(3, 4), (1, 7), (1, 8)]
    assert same_vectors(vectors, [0, 1, 2, 3, 3, 5, 6, 1, 8, 9]) == [(1, 8)]
    with torch.autocast("cpu", torch.bfloat16):
        assert len(same_vectors(vectors, range(10))) == 3
