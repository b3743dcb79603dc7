"""What labelled scenes are changed by is what was published for probing, and as often."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from concerto.training.views import augment, augment_labelled

DRAWS = 1500


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing changes but rotations and contrast; a test brings back what it is about."""
    for name in ("FLIP", "JITTER_SIGMA", "DISTORT", "TRANSLATE_COLOR"):
        monkeypatch.setattr(augment, name, 0)
    monkeypatch.setattr(augment, "SCALE", (1, 1))
    monkeypatch.setattr(augment_labelled, "JITTER_COLOR", 0)
    return monkeypatch


def happens(count: int, draws: int, p: float) -> bool:
    return bool(binomtest(count, draws, p).pvalue > 1e-4)


def is_uniform(values: list[float], low: float, high: float) -> bool:
    return bool(kstest(values, "uniform", (low, high - low)).pvalue > 1e-4)


@pytest.mark.usefixtures("only")
def test_each_rotation_comes_half_the_time(random: np.random.Generator) -> None:
    axes = np.eye(3, dtype=np.float32)
    turned = [augment_labelled.move_labelled(axes, axes, random) for _ in range(DRAWS)]
    assert all((coord == normal).all() for coord, normal in turned)
    about_x = [-math.asin(matrix[1, 2]) for matrix, _ in turned]
    about_y = [math.atan2(matrix[0, 2], matrix[2, 2]) for matrix, _ in turned]
    for angles in (about_x, about_y):
        tilted = [angle for angle in angles if abs(angle) > 1e-7]
        assert happens(len(tilted), DRAWS, 0.5)
        assert is_uniform(tilted, -math.pi / 64, math.pi / 64)
    # Without tilts, which turn the first axis by less, too.
    level = [m for (m, _), x, y in zip(turned, about_x, about_y, strict=True) if not x and not y]
    about_z = [math.atan2(matrix[1, 0], matrix[0, 0]) for matrix in level]
    round_z = [angle for angle in about_z if angle]
    assert happens(len(round_z), len(level), 0.5)
    assert is_uniform(round_z, -math.pi, math.pi)


@pytest.mark.parametrize("points", [1, 4, 7, 1000])
def test_a_fifth_of_the_points_is_left_out(random: np.random.Generator, points: int) -> None:
    dropped = [augment_labelled.drop_points(points, random) for _ in range(200)]
    assert {int(one.sum()) for one in dropped} == {points // 5}
    if points == 1000:
        assert 20 < np.sum(dropped, axis=0).min() < np.sum(dropped, axis=0).max() < 70


@pytest.mark.usefixtures("only")
def test_a_fifth_of_scenes_go_a_random_share_of_the_way_to_full_contrast(
    random: np.random.Generator,
) -> None:
    color = np.array([[0.2, 0.7], [0.5, 0.4], [0.3, 0.3]], np.float32)
    shares = []
    for _ in range(DRAWS):
        changed = augment_labelled.color_labelled(color, random)
        assert changed.dtype == np.float32
        share = float(changed[0, 1] - 0.7) / 0.3
        full = np.array([[0, 1], [1, 0], [0.3, 0.3]])
        assert changed == pytest.approx(color + share * (full - color), abs=1e-5)
        shares.append(share)
    some = [share for share in shares if share > 1e-6]
    assert happens(len(some), DRAWS, 0.2)
    assert is_uniform(some, 0, 1)


def test_nearly_every_scene_has_noise_of_a_twentieth_on_each_point_and_channel(
    random: np.random.Generator, only: pytest.MonkeyPatch
) -> None:
    only.setattr(augment_labelled, "JITTER_COLOR", 0.95)
    gray = np.full((3, 400), 0.5, np.float32)
    noise = [augment_labelled.color_labelled(gray, random) - gray for _ in range(DRAWS)]
    noisy = [one for one in noise if one.any()]
    assert happens(len(noisy), DRAWS, 0.95)
    together = np.concatenate(noisy, axis=1)
    assert together.std() == pytest.approx(0.05, rel=0.01)
    assert abs(together.mean(1)).max() < 1e-3
    assert abs(np.corrcoef(together) - np.eye(3)).max() < 0.02


def test_nearly_every_scene_has_an_offset_as_in_pretraining(
    random: np.random.Generator, only: pytest.MonkeyPatch
) -> None:
    only.setattr(augment, "TRANSLATE_COLOR", 0.95)
    gray = np.full((3, 2), 0.5, np.float32)
    offsets = np.stack([augment_labelled.color_labelled(gray, random) - gray for _ in range(DRAWS)])
    moved = offsets[offsets[:, :, 0].any(1), :, 0]
    assert happens(len(moved), DRAWS, 0.95)
    assert all(is_uniform(channel.tolist(), -0.05, 0.05) for channel in moved.T)


def test_colors_stay_colors_and_none_stay_none(random: np.random.Generator) -> None:
    color = random.random((3, 50), dtype=np.float32)
    none = np.zeros_like(color)
    for _ in range(50):
        changed = augment_labelled.color_labelled(color, random)
        assert 0 <= changed.min() <= changed.max() <= 1
        assert not augment_labelled.color_labelled(none, random).any()
