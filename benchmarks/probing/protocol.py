"""How features are probed: the same scenes, points and seeds for every kind.

A linear map is fitted to labelled points of training scenes, of all of them and of a few; its
weight decay is chosen on training scenes held out. Beside it a vote of nearest neighbours. Both are
scored on all points of the test scenes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.probing.kinds import Kind
from benchmarks.probing.rooms import Scenes
from concerto.heads import KnnConfig, KnnHead
from concerto.training.linear_probe import (
    FeatureSet,
    LinearFit,
    LinearMap,
    fit_knn,
    fit_linear,
    gather_features,
)
from concerto.training.scores import Confusion

SEEDS = (0, 1, 2)
FEW = (1, 5, 20)
POINTS = 6000  # of each training scene, drawn by the seed
FIT = LinearFit(weight_decays=(1e-4, 1e-3, 1e-2), iterations=60)
KNN = KnnConfig(rows=20_000)
# Test points whose neighbours are asked for: a comparison with 20,000 others each.
KNN_POINTS = 4000


@dataclass(frozen=True)
class Result:
    """mIoU and accuracy (of all points) in percent. probe: "linear", "linear, 5 scenes", "k-NN"."""

    probe: str
    seed: int
    miou: float
    accuracy: float


def probe(kind: Kind, train: Scenes, test: Scenes, classes: int, seed: int) -> Iterator[Result]:
    """Fit on one collection of scenes, score on another."""
    data = _gather(kind, train, seed)
    order = np.random.default_rng(seed).permutation(len(train))
    fits: dict[str, LinearMap | KnnHead] = {"linear": fit_linear(data, classes, FIT, seed)}
    for few in FEW:
        if few < len(train):
            some = data.scenes(sorted(order[:few]))
            fits[f"linear, {few} scenes"] = fit_linear(some, classes, FIT, seed)
    fits["k-NN"] = fit_knn(data, classes, KNN, seed)
    counts = {name: Confusion(classes) for name in fits}
    random = np.random.default_rng(seed)
    for number in range(len(test)):
        scene = test.read(number)
        features, truth = kind(scene), _labels(scene.segment)
        some = random.permutation(len(truth))[:KNN_POINTS]
        for name, fit in fits.items():
            if isinstance(fit, LinearMap):
                counts[name].add(truth, fit.predict(features))
            else:
                votes = fit.votes(torch.from_numpy(features[some]))
                counts[name].add(truth[some], votes.argmax(1).numpy())
    for name, confusion in counts.items():
        scores = confusion.scores()
        yield Result(name, seed, 100 * scores.miou, 100 * scores.allacc)


def _gather(kind: Kind, scenes: Scenes, seed: int) -> FeatureSet:
    """Features and labels of some points of every scene."""
    random = np.random.default_rng(seed)

    def some_points() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number in range(len(scenes)):
            scene = scenes.read(number)
            labels = _labels(scene.segment)
            rows = random.permutation(np.flatnonzero(labels >= 0))[:POINTS]
            yield kind(scene)[rows], labels[rows]

    return gather_features(some_points(), len(scenes), 2**31)


def _labels(segment: np.ndarray | None) -> np.ndarray:
    assert segment is not None
    return segment.astype(np.int64)
