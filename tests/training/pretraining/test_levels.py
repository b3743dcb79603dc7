"""What is read off an encoding."""

import pytest
import torch

from concerto import Concerto
from concerto.encoder import EncodedLevel
from concerto.hierarchy import Hierarchy
from concerto.training.pretraining.levels import level_points, pool_seen, up_cast_width
from conftest import SMALL


@pytest.fixture(scope="module")
def encoded(model: Concerto) -> tuple[list[EncodedLevel], torch.Tensor]:
    """Levels of two clouds, and coordinates at the finest."""
    random = torch.Generator().manual_seed(0)
    grid = torch.unique(torch.randint(0, 40, (500, 3), generator=random), dim=0)
    feat = torch.rand(len(grid), 9, generator=random)
    with torch.no_grad():
        levels = model.encoder(feat, grid, torch.tensor([200, len(grid)]))
    return levels, feat[:, :3]


@pytest.mark.parametrize("up", [0, 2, 4])
def test_a_level_is_that_of_the_hierarchy(
    encoded: tuple[list[EncodedLevel], torch.Tensor], up: int
) -> None:
    levels, coord = encoded
    hierarchy = Hierarchy.build(levels, coord, torch.arange(len(coord)), [200], (0,), True)
    given = level_points(levels, up, coord)
    stage = len(levels) - 1 - up
    assert torch.equal(given.feat, hierarchy.features(range(stage, len(levels)), at=stage))
    assert torch.equal(given.coord, hierarchy.levels[stage].coord)
    assert torch.equal(given.offsets, levels[stage].offsets)
    assert given.feat.shape[1] == up_cast_width(SMALL.channels, up)


def test_positions_in_images_are_means_over_the_members_that_are_seen(
    encoded: tuple[list[EncodedLevel], torch.Tensor],
) -> None:
    levels, _ = encoded
    random = torch.Generator().manual_seed(1)
    pixels = torch.rand(len(levels[0].feat), 3, 2, generator=random) * 9
    pixels[torch.rand(pixels.shape[:2], generator=random) < 0.6] = -1
    pooling = levels[0].pooling
    assert pooling is not None
    given = pool_seen(levels, 1, pixels)
    for row in range(len(given)):
        for image in range(3):
            members = pixels[pooling.parent == row, image]
            members = members[members[:, 0] >= 0]
            wanted = members.mean(0) if len(members) else torch.tensor([-1.0, -1.0])
            assert torch.allclose(given[row, image], wanted, atol=1e-5)
