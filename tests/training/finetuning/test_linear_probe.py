"""The fit of a linear map, and the vote of neighbours, on features whose classes are known."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from concerto.config import ConcertoConfig
from concerto.errors import InputError
from concerto.heads import KnnConfig
from concerto.model import Concerto
from concerto.training.finetuning.frozen_features import frozen_features, voxel_classes
from concerto.training.finetuning.linear_probe import (
    BLOCK,
    FeatureSet,
    LinearFit,
    LinearMap,
    fit_knn,
    fit_linear,
    gather_features,
    labelled_rows,
    predict_all,
    score,
)
from made_samples import labelled

CLASSES, WIDTH = 4, 12
CENTERS = np.random.default_rng(0).normal(size=(CLASSES, WIDTH)) * 3 + 5


def scene(seed: int, points: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Classes as clusters far from the origin, in channels of very different spread."""
    random = np.random.default_rng(seed)
    labels = random.integers(-1, CLASSES, points)
    features = CENTERS[labels] + random.normal(size=(points, WIDTH))
    return np.float32(features * 10.0 ** np.linspace(-2, 2, WIDTH)), labels


def data(scenes: int = 5) -> FeatureSet:
    return gather_features((scene(k) for k in range(scenes)), scenes, 2**20)


def test_both_ways_tell_clusters_apart() -> None:
    features, labels = scene(99)
    linear = fit_linear(data(), CLASSES)
    assert score([(labels, linear.predict(features))], CLASSES).scores().miou > 0.95
    knn = fit_knn(data(), CLASSES, KnnConfig(rows=200))
    votes = knn.votes(torch.from_numpy(features))
    torch.testing.assert_close(votes.sum(1), torch.ones(len(votes)))
    assert score([(labels, votes.argmax(1).numpy())], CLASSES).scores().allacc > 0.8


def test_a_fit_repeats_and_is_where_the_gradient_vanishes() -> None:
    fit = LinearFit(weight_decays=(0.01,), iterations=300)
    one, two = fit_linear(data(), CLASSES, fit), fit_linear(data(), CLASSES, fit)
    assert torch.equal(one.weight, two.weight)
    features = torch.from_numpy(data().features).float()
    spread = features.std(0, unbiased=False)
    weight = one.weight.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(
        features @ weight.T + one.bias, torch.from_numpy(data().labels)
    )
    (loss + 0.005 * (weight * spread).square().sum()).backward()
    assert weight.grad is not None
    assert (weight.grad / spread).abs().max() < 1e-3


@pytest.mark.parametrize("rows", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 1])
def test_a_fit_is_the_same_however_rows_fall_into_blocks(rows: int) -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=(rows, 5)).astype(np.float16)
    few = FeatureSet(noise, random.integers(0, 3, rows), np.array([rows]))
    fitted = fit_linear(few, 3, LinearFit(weight_decays=(0.01,), iterations=200))
    thrice = FeatureSet(noise.repeat(3, 0), few.labels.repeat(3), 3 * few.ends)
    again = fit_linear(thrice, 3, LinearFit(weight_decays=(0.01,), iterations=200))
    torch.testing.assert_close(fitted.weight, again.weight, rtol=0, atol=2e-3)
    assert fit_linear(few, 3, LinearFit(iterations=3)).weight.isfinite().all()


def test_several_maps_predict_together_what_each_does() -> None:
    features, _ = scene(99)
    maps = [LinearMap(torch.randn(3, features.shape[1]), torch.randn(3), 0.0) for _ in range(4)]
    for one, found in zip(maps, predict_all(maps, features), strict=True):
        wanted = (torch.from_numpy(features) @ one.weight.T + one.bias).argmax(1)
        np.testing.assert_array_equal(found, wanted.numpy())


def test_weight_decay_is_chosen_on_scenes_held_out() -> None:
    noise = np.random.default_rng(1).normal(size=(60, 40)).astype(np.float16)
    few = FeatureSet(noise, np.arange(60) % 2, np.arange(20, 61, 20))
    noise[:, 0] += 4 * few.labels.astype(np.float16)
    assert fit_linear(few, 2, LinearFit(weight_decays=(1e-6, 0.1))).weight_decay == 0.1


def test_scenes_without_labels_are_not_among_those_held_out() -> None:
    noise = np.random.default_rng(1).normal(size=(60, 40)).astype(np.float16)
    few = FeatureSet(noise, np.arange(60) % 2, np.arange(20, 61, 20))
    noise[:, 0] += 4 * few.labels.astype(np.float16)
    fit = LinearFit(weight_decays=(1e-6, 0.1))
    for ends in (few.ends, few.ends[-1:]):
        among = replace(few, ends=np.concatenate([np.zeros(7, np.int64), ends, [60, 60]]))
        for seed in range(4):
            wanted = fit_linear(replace(few, ends=ends), 2, fit, seed)
            assert fit_linear(among, 2, fit, seed).weight_decay == wanted.weight_decay


def test_features_are_kept_within_the_bound_with_a_share_for_every_scene() -> None:
    kept = gather_features((scene(k) for k in range(4)), 4, points=100)
    np.testing.assert_array_equal(np.diff(kept.ends, prepend=0), [25] * 4)
    assert kept.labels.min() >= 0
    np.testing.assert_array_equal(kept.scenes([2]).features, kept.features[50:75])


def test_a_scene_is_let_go_before_the_next_is_made() -> None:
    def scenes() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        before = None
        for number in range(3):
            assert before is None or before() is None
            features, labels = scene(number)
            before = weakref.ref(features)
            yield features, labels
            del features

    assert len(gather_features(scenes(), 3, 100).ends) == 3


def test_common_classes_are_kept_no_more_than_rare_ones_for_the_vote() -> None:
    labels = np.repeat([0, 1], [280, 20])
    many = FeatureSet(np.ones((300, 3), np.float16), labels, np.array([300]))
    head = fit_knn(many, 2, KnnConfig(rows=60))
    assert [int((head.labels == k).sum()) for k in (0, 1)] == [30, 20]


def test_without_any_label_there_is_nothing_to_fit() -> None:
    with pytest.raises(InputError, match="None of the points of the 1 scenes"):
        gather_features([(np.ones((4, 3)), np.full(4, -1))], 1, 2**20)


def test_a_voxel_has_the_class_of_most_of_its_points() -> None:
    segment = np.array([0, 2, 2, -1, -1, 1, 0, -1])
    rows = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(voxel_classes(segment, rows, 4, 3), [2, -1, 0, -1])


def test_frozen_features_are_those_of_the_voxels() -> None:
    model = Concerto(ConcertoConfig.preset("tiny")).eval()
    sample = labelled(1).decode()
    features, labels = frozen_features(model, sample, 3)
    with torch.no_grad():
        hierarchy = model.hierarchy(sample.cloud())
    wanted = hierarchy.features("all", at="voxels")
    np.testing.assert_allclose(features, wanted, atol=1e-4)
    assert sample.segment is not None
    np.testing.assert_array_equal(labels[hierarchy.voxel_of_point.numpy()], sample.segment)
    some, known = frozen_features(model, sample, 3, keep=labelled_rows)
    np.testing.assert_array_equal(some, features[labels >= 0])
    np.testing.assert_array_equal(known, labels[labels >= 0])
    unlabelled = frozen_features(model, replace(sample, segment=None), 3)[1]
    assert (unlabelled == -1).all()


def test_points_that_cannot_be_encoded_are_told_with_their_scene() -> None:
    sample = labelled(1).decode()
    sample.coord[3, 0] = np.nan
    model = Concerto(ConcertoConfig.preset("tiny")).eval()
    with pytest.raises(InputError, match=rf"Sample {sample.name!r}: coord is NaN.*index 3"):
        frozen_features(model, sample, 3)
