"""What a translator compares is float32, whatever the encoder computes in."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from word_tower import WIDTH, WordTower

from concerto import Hierarchy, PointCloud, Translator, TranslatorConfig
from conftest import SMALL, random_cloud

TAUGHT = ("chair", "table", "lamp")


class MultiplyingTower(WordTower):
    """One whose vectors come out of a product, as those of real ones do."""

    def encode(self, texts: Sequence[str], device: torch.device) -> Tensor:
        return super().encode(texts, device) @ torch.eye(self.width)


def make_translator(names: tuple[str, ...] = ()) -> Translator:
    torch.manual_seed(0)
    config = TranslatorConfig(SMALL, "words", WIDTH, names=names)
    return Translator(config, tower=MultiplyingTower()).eval()


@pytest.fixture(scope="module")
def cloud() -> PointCloud:
    return random_cloud(2000)


@pytest.fixture(scope="module")
def hierarchy(cloud: PointCloud) -> Hierarchy:
    """Encoded without autocast, so that what follows may be compared."""
    with torch.no_grad():
        return make_translator().encoder.hierarchy(cloud)


def test_class_numbers_above_256_are_exact_under_autocast(hierarchy: Hierarchy) -> None:
    classes = [f"thing {number}" for number in range(600)]
    wanted = make_translator().segment(hierarchy, classes)
    with torch.autocast("cpu", torch.bfloat16):
        given = make_translator().segment(hierarchy, classes)
    assert wanted.label.max() > 256
    assert torch.equal(given.label, wanted.label)
    assert torch.equal(given.probability, wanted.probability)


@pytest.mark.parametrize("names", [(), TAUGHT])
def test_answers_are_the_same_float32_under_autocast(
    names: tuple[str, ...], cloud: PointCloud, hierarchy: Hierarchy
) -> None:
    def answers() -> list[Tensor]:
        translator = make_translator(names)
        features = hierarchy.features(translator.config.chosen)
        regions = translator.find(cloud, "sofa", hierarchy=hierarchy, least_voxels=1)
        assert regions
        return [
            translator(hierarchy, ["sofa", "bed"]),
            translator.segment(hierarchy, ["sofa", "bed"]).probability,
            translator.embed(hierarchy),
            translator.translate(features),
            torch.tensor([region.score for region in regions]),
        ]

    wanted = answers()
    with torch.autocast("cpu", torch.bfloat16):
        given = answers()
    for one, other in zip(given, wanted, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


def test_texts_first_asked_under_autocast_are_kept_in_float32() -> None:
    translator = make_translator()
    with torch.autocast("cpu", torch.bfloat16):
        translator.texts(["chair"])
    assert torch.equal(translator.texts(["chair"]), make_translator().texts(["chair"]))
