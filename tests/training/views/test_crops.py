"""Crops are the nearest points to the centres that the recipe says, in the sizes that it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from concerto.training.scenes.samples import Sample, View
from concerto.training.views import crops
from concerto.training.views.crops import ViewConfig, make_views, nearest

CONFIG = ViewConfig(image_size=56)


def lattice(side: int = 12) -> Sample:
    """Points 5 cm apart: as they are, no two share a voxel, and many are equally far."""
    axis = 0.05 * np.arange(side, dtype=np.float32)
    coord = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    zeros = np.zeros_like(coord)
    return Sample("lattice", coord, zeros.astype(np.uint8), zeros)


def rows_of(view: View, sample: Sample) -> list[int]:
    """The rows of the sample that a view's rows are."""
    rows = {tuple(point): row for row, point in enumerate(sample.coord.tolist())}
    return [rows[tuple(point)] for point in view.origin_coord.tolist()]


def brute_force(coord: np.ndarray, center: np.ndarray, size: int) -> set[int]:
    distance = np.square(coord - center).sum(1, dtype=np.float32)
    return set(np.argsort(distance, kind="stable")[:size].tolist())


@given(st.integers(1, 60), st.integers(-1, 70), st.integers(0, 99))
def test_nearest_are_the_nearest_and_of_equals_the_first(points: int, size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    coord = random.integers(0, 4, (points, 3)).astype(np.float32)
    center = random.integers(0, 4, 3).astype(np.float32)
    rows = nearest(np.ascontiguousarray(coord.T), center, size)
    assert rows.tolist() == sorted(brute_force(coord, center, max(size, 1)))


@pytest.mark.usefixtures("plain")
def test_with_images_it_surrounds_the_mean_of_what_every_image_sees() -> None:
    sample = lattice()
    image = np.zeros((56, 56, 3), np.uint8)
    rows = [[0, 0, 3], [1, 1, 77], [2, 2, 500]]
    seen = (np.array([*rows, [3, 3, 900]]), np.array([*rows, [4, 4, 1700]]))
    sample = replace(sample, images=(image,) * 2, seen=seen)
    made = make_views(sample, replace(CONFIG, most_points=100), 0)
    center = sample.coord[[3, 77, 500]].mean(0)
    assert set(rows_of(made.principal, sample)) == brute_force(sample.coord, center, 100)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("images", [2, 0])
def test_where_images_share_no_point_or_are_none_it_surrounds_any_point(images: int) -> None:
    sample = lattice(5)
    image = np.zeros((56, 56, 3), np.uint8)
    seen = (np.array([[0, 0, 1]]), np.array([[0, 0, 2]]))
    sample = replace(sample, images=(image,) * images, seen=seen[:images])
    config = replace(CONFIG, most_points=1)
    centers = [
        rows_of(make_views(sample, config, seed).principal, sample)[0] for seed in range(400)
    ]
    assert kstest(centers, "uniform", (0, 125)).pvalue > 1e-4


Place = tuple[float, ...]
Crop = tuple[Place, int, set[Place]]


def crops_of(
    sample: Sample, config: ViewConfig, seeds: range, monkeypatch: pytest.MonkeyPatch
) -> list[list[Crop]]:
    """For each seed and view: centre, size, and rows of the crop."""
    calls: list[Crop] = []

    def note(coord: np.ndarray, center: np.ndarray, size: int) -> np.ndarray:
        rows = nearest(coord, center, size)
        calls.append((tuple(center.tolist()), size, set(map(tuple, coord[:, rows].T.tolist()))))
        return rows

    monkeypatch.setattr(crops, "nearest", note)
    for seed in seeds:
        make_views(sample, config, seed)
    views_a_sample = 2 + config.local_views
    return [calls[i : i + views_a_sample] for i in range(0, len(calls), views_a_sample)]


def test_sizes_of_crops_are_uniform_shares(plain: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, most_points=1000)
    crops = crops_of(lattice(), config, range(80), plain)
    assert {made[0][1] for made in crops} == {1000}
    assert kstest([made[1][1] for made in crops], "uniform", (400, 600)).pvalue > 1e-4
    local = [size for made in crops for _, size, _ in made[2:]]
    assert kstest(local, "uniform", (100, 300)).pvalue > 1e-4


def test_where_images_are_not_used_the_principal_view_is_as_large_as_the_second_and_anywhere(
    plain: pytest.MonkeyPatch,
) -> None:
    sample, config = lattice(), replace(CONFIG, most_points=1000, use_images=False)
    principal = [made[0] for made in crops_of(sample, config, range(300), plain)]
    rows = {tuple(point): row for row, point in enumerate(sample.coord.tolist())}
    centers = [rows[center] for center, _, _ in principal]
    assert kstest(centers, "uniform", (0, len(rows))).pvalue > 1e-4
    assert kstest([size for _, size, _ in principal], "uniform", (400, 600)).pvalue > 1e-4


def test_sizes_are_shares_of_all_points_where_these_are_few(plain: pytest.MonkeyPatch) -> None:
    config = ViewConfig(second_size=(0.5, 0.5), local_size=(0.2, 0.2))
    (made,) = crops_of(lattice(5), config, range(1), plain)
    assert [size for _, size, _ in made] == [125, 62, 25, 25, 25, 25]


def test_second_and_local_crops_lie_in_the_principal_one_and_local_ones_spread(
    plain: pytest.MonkeyPatch,
) -> None:
    config = replace(CONFIG, most_points=600)
    for principal, second, *local in crops_of(lattice(), config, range(20), plain):
        assert second[0] in principal[2]
        covered: set[Place] = set()
        for center, _, rows in local:
            assert center in principal[2] - covered
            covered |= rows


@pytest.mark.usefixtures("plain")
def test_local_views_go_on_when_all_is_covered() -> None:
    config = replace(CONFIG, most_points=5000, local_size=(1, 1))
    made = make_views(lattice(), config, 0)
    assert [len(view.feat) for view in made.local] == [12**3] * 4
