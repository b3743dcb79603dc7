"""What every image teacher promises, on modules small enough to see through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from concerto.errors import ConfigError, InputError
from concerto.training.images.teacher import GridTeacher, ImageTeacher, check_autocast


class Patchify(nn.Module):
    """Patches of 8 by a convolution, with dropout; as a map (I, C, h, w), or as tokens."""

    def __init__(self, tokens: bool = False, prefix: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, kernel_size=8, stride=8)
        self.dropout = nn.Dropout(0.5)
        self.tokens, self.prefix = tokens, prefix
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        found: Tensor = self.dropout(self.conv(images))
        if not self.tokens:
            return found
        rows = found.flatten(2).transpose(1, 2)
        return torch.cat([rows[:, : self.prefix], rows], 1)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 16, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("tokens", [False, True])
def test_patches_of_a_map_or_of_tokens_come_row_by_row(images: Tensor, tokens: bool) -> None:
    module = Patchify(tokens)
    teacher = GridTeacher(module, image_size=32)
    assert (teacher.patch_size, teacher.width, teacher.image_size) == (8, 5, 32)
    features = teacher(images)
    assert features.shape == (5, 2 * 3, 5)
    lower_left = images[:, :, 8:16, :8]
    torch.testing.assert_close(features[:, 3], module.conv(lower_left)[:, :, 0, 0])


def test_images_are_normalised_by_the_given_mean_and_deviation(images: Tensor) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    normalised = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    plain = GridTeacher(Patchify(), 32)
    torch.testing.assert_close(GridTeacher(Patchify(), 32, mean, std)(images), plain(normalised))


def test_a_teacher_stays_frozen_whatever_is_asked_of_it(images: Tensor) -> None:
    teacher = GridTeacher(Patchify(), 32).train()
    assert not any(module.training for module in teacher.modules())
    features = teacher(images.requires_grad_())
    assert not features.requires_grad
    assert torch.equal(features, teacher(images))
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_features_can_be_kept_for_a_backward_pass(images: Tensor) -> None:
    weight = torch.ones(5, requires_grad=True)
    (GridTeacher(Patchify(), 32)(images) * weight).sum().backward()
    assert weight.grad is not None


def test_many_images_go_through_in_bounded_parts(images: Tensor) -> None:
    module = Patchify()
    teacher = GridTeacher(module, 32)
    whole = teacher(images)
    module.seen.clear()
    teacher.images_at_once = 2
    torch.testing.assert_close(teacher(images), whole)
    assert module.seen == [2, 2, 1]


def test_no_images_give_no_features() -> None:
    assert GridTeacher(Patchify(), 32)(torch.zeros(0, 3, 16, 24)).shape == (0, 6, 5)


def test_precision_is_the_teachers_own_and_not_its_callers(images: Tensor) -> None:
    teacher = GridTeacher(Patchify(), 32)
    exact = teacher(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(teacher(images), exact)
    teacher.autocast = torch.bfloat16
    rounded = teacher(images)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 16, 20), "20x16 pixels, which patches of 8 do not tile. Use a multiple of 8"),
        ((1, 3, 0, 16), "16x0 pixels"),
        ((1, 4, 16, 16), r"shape \(1, 4, 16, 16\)"),
        ((3, 16, 16), r"shape \(3, 16, 16\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GridTeacher(Patchify(), 32)(torch.zeros(shape))


def test_images_of_whole_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="uint8"):
        GridTeacher(Patchify(), 32)(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def test_a_module_with_a_class_token_is_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"\(1, 17, 5\) .*no tokens but the patches'"):
        GridTeacher(Patchify(tokens=True, prefix=1), 32)


def test_a_module_that_gives_one_vector_an_image_is_refused() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    with pytest.raises(ConfigError, match=r"gives \(1, 5\)"):
        GridTeacher(module, 32)


def test_a_module_that_does_not_take_the_size_says_which_it_was() -> None:
    with pytest.raises(ConfigError, match="does not take images of 4x4 pixels"):
        GridTeacher(Patchify(), 4)


def test_a_preferred_size_must_be_tiled() -> None:
    teacher = GridTeacher(Patchify(), 32)
    teacher.set_image_size(40)
    assert teacher.image_size == 40
    with pytest.raises(ConfigError, match="such as 32"):
        teacher.set_image_size(36)


def test_a_teacher_that_gives_the_wrong_number_of_patches_is_caught() -> None:
    class Short(ImageTeacher):
        def patches(self, images: Tensor) -> Tensor:
            return images.new_zeros(len(images), 3, self.width)

    with pytest.raises(ConfigError, match=r"\(1, 3, 5\) for 2 by 2 patches"):
        Short(patch_size=8, width=5, image_size=16)(torch.zeros(1, 3, 16, 16))


def test_precisions_that_autocast_does_not_know_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"float32, bfloat16, float16, not in torch\.float64"):
        check_autocast(torch.float64)
