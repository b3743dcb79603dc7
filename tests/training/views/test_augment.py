"""Every augmentation of points does what its definition says, and as often."""

from __future__ import annotations

import colorsys
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import convolve1d
from scipy.stats import binomtest, kstest

from concerto.training.views import augment

DRAWS = 1500
colors = hnp.arrays(
    np.float32, st.tuples(st.just(3), st.integers(1, 20)), elements=st.floats(0, 1, width=32)
)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def happens(count: int, draws: int, p: float) -> bool:
    return bool(binomtest(count, draws, p).pvalue > 1e-4)


def is_uniform(values: list[float], low: float, high: float) -> bool:
    return bool(kstest(values, "uniform", (low, high - low)).pvalue > 1e-4)


def test_a_fifth_of_clouds_lose_all_and_half_of_the_others_a_fifth_of_the_points(
    random: np.random.Generator,
) -> None:
    values = np.ones((3, 200), np.float32)
    left = [augment.drop(values, random) for _ in range(DRAWS)]
    shares = [float(one[0].mean()) for one in left]
    some = [share for share in shares if 0 < share < 1]
    assert happens(shares.count(0), DRAWS, 0.2)
    assert happens(len(some), DRAWS - shares.count(0), 0.5)
    assert happens(round(sum(some) * 200), len(some) * 200, 0.8)
    assert all((one == one[0]).all() and one.dtype == np.float32 for one in left)
    assert (values == 1).all()


def test_color_jitters_come_in_any_order_each_with_its_probability_and_range(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, float]] = []

    def note(name: str) -> augment.Jitter:
        _, low, high = next(jitter for jitter in jitters if jitter[0].__name__ == name)
        return (lambda color, by: (calls.append((name, by)), color)[1], low, high)

    jitters = augment.JITTERS
    ranges = {
        "change_brightness": (0.6, 1.4),
        "change_contrast": (0.6, 1.4),
        "change_saturation": (0.8, 1.2),
        "change_hue": (-0.02, 0.02),
    }
    monkeypatch.setattr(augment, "JITTERS", tuple(map(note, ranges)))
    orders: Counter[tuple[str, ...]] = Counter()
    drawn = []
    for _ in range(DRAWS):
        calls.clear()
        augment.augment_color(np.zeros((3, 1), np.float32), random)
        orders[tuple(name for name, _ in calls)] += 1
        drawn += calls
    for name, bounds in ranges.items():
        values = [by for called, by in drawn if called == name]
        assert happens(len(values), DRAWS, 0.8)
        assert is_uniform(values, *bounds)
    assert all(orders[order] for order in itertools.permutations(ranges))


def test_color_offsets_are_one_a_channel_within_their_range(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "JITTERS", ())
    gray = np.full((3, 4), 0.5, np.float32)
    offsets = np.stack([augment.augment_color(gray, random) - gray for _ in range(DRAWS)])
    assert (offsets == offsets[:, :, :1]).all()
    moved = offsets[offsets[:, :, 0].any(1), :, 0]
    assert happens(len(moved), DRAWS, 0.95)
    assert all(is_uniform(channel.tolist(), -0.05, 0.05) for channel in moved.T)
    assert abs(np.corrcoef(moved.T) - np.eye(3)).max() < 0.12


@given(colors, st.integers(0, 1000))
def test_augmented_colors_stay_colors(color: np.ndarray, seed: int) -> None:
    changed = augment.augment_color(color, np.random.default_rng(seed))
    assert changed.shape == color.shape
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1


@given(colors)
def test_neutral_jitters_change_nothing(color: np.ndarray) -> None:
    for change in (
        augment.change_brightness,
        augment.change_contrast,
        augment.change_saturation,
    ):
        assert change(color, 1.0) == pytest.approx(color, abs=1e-6)
    assert augment.change_hue(color, 0.0) == pytest.approx(color, abs=1e-5)


@given(colors, st.floats(-0.5, 0.5))
def test_a_turn_of_the_hue_is_that_of_colorsys(color: np.ndarray, turn: float) -> None:
    wanted = []
    for point in color.T.tolist():
        hue, saturation, value = colorsys.rgb_to_hsv(*point)
        wanted.append(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
    assert augment.change_hue(color, turn) == pytest.approx(np.array(wanted).T, abs=1e-5)


def test_brightness_contrast_and_saturation_follow_their_formulas() -> None:
    color = np.array([[0.2, 0.4], [0.3, 0.5], [0.1, 0.6]], np.float32)
    gray = np.array([0.299, 0.587, 0.114]) @ color
    assert augment.change_brightness(color, 1.2) == pytest.approx(1.2 * color)
    assert augment.change_brightness(color, 9.0) == pytest.approx(np.minimum(9 * color, 1))
    mean = gray.mean()
    assert augment.change_contrast(color, 0.7) == pytest.approx(mean + 0.7 * (color - mean))
    assert augment.change_saturation(color, 1.1) == pytest.approx(gray + 1.1 * (color - gray))


def test_angles_about_z_are_any_and_drawn_four_times_in_five(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "FLIP", 0)
    monkeypatch.setattr(augment, "TILT", 0)
    matrices = [augment.draw_rotation(augment.ROTATE, random) for _ in range(DRAWS)]
    angles = [math.atan2(matrix[1, 0], matrix[0, 0]) for matrix in matrices]
    turned = [angle for angle in angles if angle]
    assert happens(len(turned), DRAWS, 0.8)
    assert is_uniform(turned, -math.pi, math.pi)


def test_tilts_are_small_and_drawn_four_times_in_five(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "FLIP", 0)
    matrices = [augment.draw_rotation(augment.ROTATE, random) for _ in range(DRAWS)]
    # The third column of a turn about x by a, then y by b: sin b cos a, -sin a, cos b cos a.
    about_x = [-math.asin(matrix[1, 2]) for matrix in matrices]
    about_y = [math.atan2(matrix[0, 2], matrix[2, 2]) for matrix in matrices]
    for angles in (about_x, about_y):
        tilted = [angle for angle in angles if abs(angle) > 1e-12]
        assert happens(len(tilted), DRAWS, 0.8)
        assert is_uniform(tilted, -math.pi / 64, math.pi / 64)


def test_x_and_y_are_flipped_half_the_time_each_and_z_never(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "ROTATE", 0)
    signs = Counter(
        tuple(np.diag(augment.draw_rotation(augment.ROTATE, random))) for _ in range(DRAWS)
    )
    assert set(signs) == {(x, y, 1.0) for x in (-1.0, 1.0) for y in (-1.0, 1.0)}
    assert all(happens(count, DRAWS, 0.25) for count in signs.values())


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Geometry that only centres; a test brings back what it is about."""
    for name in ("ROTATE", "FLIP", "JITTER_SIGMA", "DISTORT"):
        monkeypatch.setattr(augment, name, 0)
    monkeypatch.setattr(augment, "SCALE", (1, 1))
    return monkeypatch


def cloud(points: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-2, 5, (3, points)).astype(np.float32)


@pytest.mark.usefixtures("still")
def test_a_view_is_centred_in_x_and_y_and_stands_on_its_floor(random: np.random.Generator) -> None:
    before = cloud(50)
    coord, normal = augment.augment_geometry(before, before, random)
    assert coord.min(1)[:2] == pytest.approx(-coord.max(1)[:2], abs=1e-6)
    assert coord[2].min() == 0
    assert coord - coord[:, :1] == pytest.approx(before - before[:, :1], abs=1e-5)
    assert (normal == before).all()


def test_scales_are_uniform_and_the_same_for_all_axes(
    random: np.random.Generator, still: pytest.MonkeyPatch
) -> None:
    still.setattr(augment, "SCALE", (0.9, 1.1))
    before = cloud(4)
    extent = np.ptp(before, axis=1)
    scales = []
    for _ in range(400):
        coord, normal = augment.augment_geometry(before, before, random)
        ratio = np.ptp(coord, axis=1) / extent
        assert ratio == pytest.approx(ratio[0], abs=1e-5)
        assert (normal == before).all()
        scales.append(float(ratio[0]))
    assert is_uniform(scales, 0.9, 1.1)


def test_jitter_has_five_millimetres_and_is_clipped_at_twenty(
    random: np.random.Generator, still: pytest.MonkeyPatch
) -> None:
    before = np.zeros((3, 100_000), np.float32)
    still.setattr(augment, "JITTER_SIGMA", 0.005)
    moved, _ = augment.augment_geometry(before, before, random)
    assert moved.std() == pytest.approx(0.005, rel=0.01)
    assert abs(moved.mean(1)).max() < 1e-4
    assert abs(moved).max() == np.float32(0.02)  # four sigma: seen among 300,000
    assert abs(np.corrcoef(moved) - np.eye(3)).max() < 0.02


def test_normals_stay_upright_on_turned_surfaces(
    random: np.random.Generator, still: pytest.MonkeyPatch
) -> None:
    for name, value in (("ROTATE", 1), ("FLIP", 0.5), ("SCALE", (0.9, 1.1))):
        still.setattr(augment, name, value)
    before = cloud(30)
    normal = np.array([1, 2, -2], np.float32) / 3
    before -= np.outer(normal, normal @ before)  # now a plane
    for _ in range(20):
        coord, normals = augment.augment_geometry(before, np.tile(normal[:, None], 30), random)
        assert np.linalg.norm(normals, axis=0) == pytest.approx(1, abs=1e-5)
        assert normals[:, 0] @ (coord - coord[:, :1]) == pytest.approx(0, abs=1e-5)


def test_nearly_every_view_is_distorted_finely_then_coarsely(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[float, float]] = []

    def note(coord: np.ndarray, spacing: float, factor: float, _: object) -> np.ndarray:
        calls.append((spacing, factor))
        return coord

    monkeypatch.setattr(augment, "distort", note)
    for _ in range(DRAWS):
        augment.augment_geometry(np.zeros((3, 1), np.float32), np.zeros((3, 1)), random)
    assert happens(len(calls) // 2, DRAWS, 0.95)
    assert calls == [(0.2, 0.4), (0.8, 1.6)] * (len(calls) // 2)


def reference_distortion(
    coord: np.ndarray, spacing: float, factor: float, random: np.random.Generator
) -> np.ndarray:
    """The definition, axis by axis: nodes from one before the least coordinates on."""
    low = coord.min(1)
    nodes = (np.ptp(coord, axis=1) // spacing).astype(int) + 3
    noise = random.standard_normal((3, *nodes), dtype=np.float32).astype(np.float64)
    for axis in (1, 2, 3, 1, 2, 3):
        noise = convolve1d(noise, np.ones(3) / 3, axis, mode="constant")
    axes = [start + spacing * (np.arange(n) - 1) for start, n in zip(low, nodes, strict=True)]
    shift = [RegularGridInterpolator(axes, one)(coord.T) for one in noise]
    return coord + factor * np.stack(shift)


@given(st.integers(0, 100), st.integers(1, 40), st.sampled_from([0.2, 0.8]))
def test_distortion_follows_its_definition(seed: int, points: int, spacing: float) -> None:
    # Whole extents over the spacing are left out, where rounding decides the number of nodes.
    coord = np.random.default_rng(seed).uniform(0, 1.55, (3, points)).astype(np.float32)
    given_ = augment.distort(coord, spacing, 1.6, np.random.default_rng(seed))
    wanted = reference_distortion(coord.astype(float), spacing, 1.6, np.random.default_rng(seed))
    assert given_ == pytest.approx(wanted, abs=1e-5)


def test_distortion_moves_as_far_as_its_noise_says(random: np.random.Generator) -> None:
    # On a node twice the mean of three weighs (1, 2, 3, 2, 1) / 9 along each axis.
    axis = np.arange(41, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis)).reshape(3, -1)
    inner = ((grid > 1) & (grid < 39)).all(0)
    shift = (augment.distort(grid, 1.0, 0.4, random) - grid)[:, inner]
    assert shift.std(1) == pytest.approx(0.4 * (19 / 81) ** 1.5, rel=0.05)


def test_distortion_of_a_vast_scene_takes_bounded_noise_and_stays_smooth(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "MOST_NODES", 16)
    line = np.linspace(0, 600, 60_001, dtype=np.float32)
    coord = np.stack([line, line, line])
    shift = augment.distort(coord, 0.8, 1.6, random) - coord
    assert shift.std() > 0.05
    assert abs(np.diff(shift)).max() < 0.02
