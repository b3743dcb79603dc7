"""Nearest points between views."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from concerto.training.pretraining.levels import LevelPoints
from concerto.training.pretraining.matching import _by_distances, _by_tree, match, nearest


def points(*clouds: Tensor) -> LevelPoints:
    coord = torch.cat(clouds)
    offsets = torch.tensor([len(cloud) for cloud in clouds]).cumsum(0)
    return LevelPoints(torch.zeros(len(coord), 1), coord, offsets)


def lattice(seed: int, count: int) -> Tensor:
    """Few different coordinates, hence many equal distances."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4, (count, 3), generator=random) * 0.25


@settings(deadline=None, max_examples=40)
@given(first=st.integers(0, 40), second=st.integers(0, 40), seed=st.integers(0, 1000))
def test_it_is_the_first_of_the_nearest_within_the_radius(
    first: int, second: int, seed: int
) -> None:
    own, other = lattice(seed, first), lattice(seed + 1, second)
    rows, found = nearest(own, other, 0.5)
    wanted = []
    for row, point in enumerate(own):
        distances = (other - point).norm(dim=1)
        if second and distances.min() < 0.5:
            wanted.append((row, int(distances.argmin())))
    assert list(zip(rows.tolist(), found.tolist(), strict=True)) == wanted


def test_tree_and_distances_find_the_same() -> None:
    own, other = lattice(0, 300) + 0.125, lattice(1, 200)
    near, by_tree = _by_tree(own, other, 10.0)
    distance, by_distances = _by_distances(own, other)
    assert torch.equal(by_tree, by_distances)
    assert torch.allclose(near.float(), distance)


def test_distances_are_found_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = lattice(0, 300), lattice(1, 200)
    whole = _by_distances(own, other)
    monkeypatch.setattr("concerto.training.pretraining.matching.SLICE", 1000)
    sliced = _by_distances(own, other)
    assert all(torch.equal(a, b) for a, b in zip(whole, sliced, strict=True))


def test_each_cloud_is_matched_with_the_one_it_is_told_to() -> None:
    zero, far = torch.zeros(2, 3), torch.full((3, 3), 9.0)
    pairs = match(points(zero, far, zero), points(far, zero), [1, 0, 0], radius=0.1)
    assert pairs.source.tolist() == [0, 1, 2, 3, 4]
    assert pairs.target.tolist() == [3, 3, 0, 0, 0]
    assert pairs.view.tolist() == [0, 0, 1, 1, 1]
    assert pairs.counts.tolist() == [2, 3, 0]
