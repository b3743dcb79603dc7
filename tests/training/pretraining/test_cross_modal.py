"""Points in patches of images."""

import pytest
import torch

from concerto import Concerto
from concerto.errors import InputError
from concerto.training.pretraining.cross_modal import (
    Hits,
    cosine_losses,
    hits,
    patch_grid,
    patch_means,
)
from concerto.training.pretraining.levels import up_cast


def test_a_point_falls_into_a_patch_of_every_image_that_sees_it() -> None:
    pixels = torch.tensor(
        [
            [[0.9, 2.1], [-1.0, -1.0]],
            [[1.0, 0.0], [0.5, 2.9]],
            [[-1.0, -1.0], [-1.0, -1.0]],
        ]
    )
    seen = hits(pixels, first_image=torch.tensor([0, 0, 1]), grid=(2, 3))
    assert seen.point.tolist() == [0, 1, 1]
    assert seen.patch.tolist() == [2, 3, 6 + 2]


def test_images_of_later_samples_come_after() -> None:
    pixels = torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]]])
    assert hits(pixels, torch.tensor([0, 4]), grid=(2, 2)).patch.tolist() == [0, 4 * 4 + 3]


def test_a_position_outside_the_image_hits_nothing() -> None:
    pixels = torch.tensor([[[2.0, 0.0]], [[0.0, 3.0]], [[1.9, 2.9]]])
    assert hits(pixels, torch.zeros(3, dtype=torch.int64), grid=(2, 3)).point.tolist() == [2]


@pytest.mark.parametrize("stage", [0, 1, 4])
def test_features_of_all_levels_are_averaged_over_the_points_of_a_patch(
    model: Concerto, stage: int
) -> None:
    random = torch.Generator().manual_seed(0)
    grid = torch.unique(torch.randint(0, 20, (300, 3), generator=random), dim=0)
    feat = torch.rand(len(grid), 9, generator=random)
    with torch.no_grad():
        levels = model.encoder(feat, grid, torch.tensor([200, len(grid)]))
    points = len(levels[stage].feat)
    seen = Hits(
        torch.randint(0, points, (400,), generator=random),
        torch.randint(0, 9, (400,), generator=random) * 3,
    )
    means, patch = patch_means(levels[stage:], seen)
    assert patch.tolist() == sorted(set(seen.patch.tolist()))
    every = up_cast(levels, len(levels) - 1 - stage)
    for mean, number in zip(means, patch.tolist(), strict=True):
        wanted = every[seen.point[seen.patch == number]].mean(0)
        assert torch.allclose(mean, wanted, rtol=1e-4, atol=1e-5)


def test_the_loss_sees_neither_length_nor_mean() -> None:
    random = torch.Generator().manual_seed(0)
    wanted = torch.rand(4, 6, generator=random)
    losses = cosine_losses(3 * wanted + 5, wanted)
    assert torch.allclose(losses, torch.zeros(4), atol=1e-4)
    assert torch.allclose(cosine_losses(-wanted, wanted), torch.full((4,), 20.0))


@pytest.mark.parametrize(
    ("size", "patches", "grid"), [((518, 518), 1369, (37, 37)), ((28, 42), 24, (4, 6))]
)
def test_the_grid_follows_from_the_shape_of_the_images(
    size: tuple[int, int], patches: int, grid: tuple[int, int]
) -> None:
    assert patch_grid(torch.empty(1, 3, *size), patches) == grid


def test_tokens_that_are_no_patches_are_refused() -> None:
    with pytest.raises(InputError, match=r"1374 features .* without class or register tokens"):
        patch_grid(torch.empty(1, 3, 518, 518), 1374)
