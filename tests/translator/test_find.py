"""What `find` makes of points in their several forms, and of what it is asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from word_tower import WIDTH, WordTower

from concerto import InputError, Translator, TranslatorConfig
from conftest import SMALL

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
