"""`Translator.find`: regions of a scene that a text speaks of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from word_tower import WIDTH, WordTower

from concerto import InputError, PointCloud, Translator, TranslatorConfig
from concerto.translator.projection import Projection
from conftest import SMALL, random_cloud

ROWS = 400


@pytest.fixture(scope="module")
def translator() -> Translator:
    torch.manual_seed(0)
    return Translator(TranslatorConfig(SMALL, "words", WIDTH), tower=WordTower()).eval()


@pytest.fixture(scope="module")
def voxels() -> dict[str, Any]:
    """A flat scene of voxels made beforehand, far larger than its coordinates say."""
    random = torch.Generator().manual_seed(0)
    place = torch.arange(ROWS)
    grid = torch.stack([place // 20, place % 20, torch.zeros_like(place)], dim=1)
    coord, feat = torch.rand(ROWS, 3, generator=random), torch.rand(ROWS, 9, generator=random)
    return {"coord": coord * 0.1, "grid_coord": grid, "feat": feat}


@pytest.fixture(scope="module")
def cloud() -> PointCloud:
    return random_cloud(3000)


def test_regions_are_connected_and_ranked(translator: Translator) -> None:
    one, two = random_cloud(6000), random_cloud(6000, seed=3)
    apart = torch.cat([one.coord, two.coord + torch.tensor([5.0, 0, 0])])
    cloud = PointCloud(apart, torch.cat([one.color, two.color]))
    regions = translator.find(cloud, "chair", top=50, threshold=0.0, least_voxels=1)
    assert [len(region.points) for region in regions] == [6000, 6000]
    for region in regions:
        inside = apart[region.points]
        assert torch.equal(region.low, inside.amin(0))
        assert torch.equal(region.high, inside.amax(0))
        assert inside[:, 0].max() < 2 or inside[:, 0].min() >= 5
    assert regions[0].score >= regions[1].score
    assert len(translator.find(cloud, "chair", top=1, threshold=0.0)) == 1
    assert translator.find(cloud, "chair", threshold=1.0) == []


def test_relevance_compares_with_the_nearest_of_the_others(
    translator: Translator, cloud: PointCloud
) -> None:
    (region,) = translator.find(cloud, "chair", against=["table", "lamp"], threshold=0.0, top=1)
    with torch.no_grad():
        hierarchy = translator.encoder.hierarchy(cloud)
    again = translator.find(
        cloud, "chair", against=["table", "lamp"], threshold=0.0, top=1, hierarchy=hierarchy
    )
    assert again[0].score == pytest.approx(region.score)
    projection = Projection(hierarchy, (2, 3, 4), translator.map)
    wanted = translator.texts(["chair", "table", "lamp"])
    cosine = projection.reduce(lambda vectors: vectors @ wanted.T)
    pairs = torch.stack([cosine[:, 0] - cosine[:, k] for k in (1, 2)], 1) / 0.1
    assert region.score == pytest.approx(float(pairs.sigmoid().amin(1).mean()), rel=1e-4)


def test_a_text_is_not_compared_with_itself(translator: Translator, cloud: PointCloud) -> None:
    options = {"threshold": 0.3, "least_voxels": 1}
    wanted = translator.find(cloud, "chair", against=["table"], **options)
    given = translator.find(cloud, "chair", against=["chair", "table"], **options)
    assert [region.score for region in given] == [region.score for region in wanted]
    assert any(region.score != pytest.approx(0.5) for region in given)
    with pytest.raises(InputError, match="nothing but 'chair' itself"):
        translator.find(cloud, "chair", against="chair")


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("threshold", (None, "0.4", float("nan"))),
        ("least_voxels", (None, 0, 2.5)),
        ("top", (None, 0, 2.5)),
    ],
)
def test_what_bounds_no_search_is_refused(
    translator: Translator, cloud: PointCloud, option: str, values: tuple[object, ...]
) -> None:
    for value in values:
        with pytest.raises(InputError, match=f"{option} is {value!r}; it must be"):
            translator.find(cloud, "chair", **{option: value})


def test_voxels_made_beforehand_are_searched_as_they_are(
    translator: Translator, voxels: dict[str, Any]
) -> None:
    options = {"threshold": 0.0, "least_voxels": 1}
    with torch.no_grad():
        hierarchy = translator.encoder.hierarchy(voxels)
    (wanted,) = translator.find(voxels, "chair", hierarchy=hierarchy, **options)
    (given,) = translator.find(voxels, "chair", **options)
    assert given.score == pytest.approx(wanted.score)
    assert torch.equal(given.points, torch.arange(ROWS))
    assert torch.equal(given.low, voxels["coord"].amin(0))
    assert torch.equal(given.high, voxels["coord"].amax(0))
    (packed,) = translator.find(voxels | {"offset": [ROWS]}, "chair", **options)
    assert packed.score == given.score


def test_voxels_made_beforehand_need_a_coordinate_each(
    translator: Translator, voxels: dict[str, Any]
) -> None:
    bare = {name: values for name, values in voxels.items() if name != "coord"}
    with pytest.raises(InputError, match="given without coord"):
        translator.find(bare, "chair")
    with pytest.raises(InputError, match=r"coord has shape \(5, 3\) and grid_coord \(400, 3\)"):
        translator.find(bare | {"coord": voxels["coord"][:5]}, "chair")
    with pytest.raises(InputError, match="have no say where grid_coord"):
        translator.find(voxels, "chair", scale=2.0)
