"""Images fit their teacher, pixels are found again after it, and changes are as defined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import correlate1d
from scipy.stats import binomtest, kstest

from concerto.training.views import images as image_views
from concerto.training.views.images import augment_images, blur, fit_image, patches_of_pixels

DRAWS = 800


def position_image(height: int, width: int) -> np.ndarray:
    """Red grows with x, green with y, from 0 to 255."""
    image = np.zeros((height, width, 3))
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    return image.round().astype(np.uint8)


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (518, 518), (60, 50), (1000, 1301)])
def test_a_pixel_is_found_where_its_patch_says(shape: tuple[int, int]) -> None:
    height, width = shape
    size, patch = 112, 7
    image = position_image(height, width)
    fitted = fit_image(image, size, size // patch)
    assert fitted.shape == (3, size, size)
    random = np.random.default_rng(0)
    pixels = np.stack([random.integers(0, width, 500), random.integers(0, height, 500)], 1)
    places = patches_of_pixels(pixels, height, width, size // patch)
    inside = places[:, 0] >= 0
    row, column = np.floor(places[inside] * patch).astype(int).T
    found = fitted[:2, row, column].numpy().T * 255
    wanted = image[pixels[inside, 1], pixels[inside, 0], :2]
    # A pixel of the fitted image lies up to half of one beside, and a source pixel has one value.
    step = 255 * (1 / min(shape) + 1 / size)
    assert abs(found - wanted).max() < step


@given(st.integers(37, 700), st.integers(37, 700), st.integers(1, 37))
def test_the_square_is_centred_and_as_large_as_whole_patches_allow(
    height: int, width: int, side: int
) -> None:
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    inside = patches_of_pixels(np.stack([x, y], 1), height, width, side)[:, 0] >= 0
    x, y = x[inside], y[inside]
    length = min(height, width) // side * side
    assert np.ptp(x) + 1 == np.ptp(y) + 1 == length
    assert len(x) == length**2
    assert abs(x.min() - (width - 1 - x.max())) <= 1
    assert abs(y.min() - (height - 1 - y.max())) <= 1


@given(st.integers(20, 90), st.integers(20, 90), st.integers(1, 9))
def test_every_patch_gets_as_many_pixels(height: int, width: int, side: int) -> None:
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    places = patches_of_pixels(np.stack([x, y], 1), height, width, side)
    row, column = np.floor(places[places[:, 0] >= 0]).astype(int).T
    counts = np.bincount(row * side + column)
    assert counts.tolist() == [(min(height, width) // side) ** 2] * side**2


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    fitted = fit_image(image, 56, 4)
    assert torch.equal((fitted * 255).round().byte().permute(1, 2, 0), torch.from_numpy(image))


def test_colors_of_images_move_by_one_small_offset_a_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_views, "BLUR", 0)
    random = np.random.default_rng(0)
    images = torch.full((2, 3, 2, 2), 0.5)
    offsets = torch.stack([augment_images(images, random) - images for _ in range(DRAWS)])
    assert torch.equal(images, torch.full((2, 3, 2, 2), 0.5))
    each = offsets[:, :1, :, :1, :1]
    assert (offsets == each).all()
    moved = each.flatten(1)[each.flatten(1).any(1)]
    assert binomtest(len(moved), DRAWS, 0.95).pvalue > 1e-4
    for channel in moved.unbind(1):
        assert kstest(channel, "uniform", (0, 0.05)).pvalue > 1e-4
    assert (moved[:, 0] != moved[:, 1]).all()


def test_moved_colors_end_at_white(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_views, "OFFSET", 1)
    assert augment_images(torch.ones(1, 3, 9, 9), np.random.default_rng(0)).max() <= 1 + 1e-6


def test_half_of_samples_are_blurred_with_one_sigma_each(monkeypatch: pytest.MonkeyPatch) -> None:
    sigmas: list[float] = []

    def note(images: torch.Tensor, sigma: float) -> torch.Tensor:
        sigmas.append(sigma)
        return images

    monkeypatch.setattr(image_views, "blur", note)
    random = np.random.default_rng(0)
    for _ in range(DRAWS):
        augment_images(torch.zeros(2, 3, 1, 1), random)
    assert binomtest(len(sigmas), DRAWS, 0.5).pvalue > 1e-4
    assert kstest(sigmas, "uniform", (0.1, 1.9)).pvalue > 1e-4


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_a_gaussian_of_nine_taps(sigma: float) -> None:
    images = torch.rand(2, 3, 12, 17, generator=torch.Generator().manual_seed(0))
    taps = np.exp(-(np.arange(-4, 5) ** 2) / (2 * sigma**2))
    wanted = images.double().numpy()
    for axis in (2, 3):
        wanted = correlate1d(wanted, taps / taps.sum(), axis, mode="mirror")
    assert blur(images, sigma).numpy() == pytest.approx(wanted, abs=1e-6)
