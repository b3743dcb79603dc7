"""Points in patches of images."""

import pytest
import torch

from concerto.errors import InputError
from concerto.training.cross_modal import cosine_losses, hits, patch_grid, patch_means


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


def test_features_are_averaged_over_the_points_of_a_patch() -> None:
    feat = torch.tensor([[1.0, 0.0], [5.0, 5.0], [3.0, 2.0]])
    means, patch = patch_means(feat, torch.tensor([7, 2, 7]))
    assert patch.tolist() == [2, 7]
    assert torch.equal(means, torch.tensor([[5.0, 5.0], [2.0, 1.0]]))


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
