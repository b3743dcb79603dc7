"""How features are probed: the same scenes, points and seeds for every kind.

A linear map is fitted to labelled points of training scenes, of all of them and of a few; its
weight decay is chosen on training scenes held out. Beside it a vote of nearest neighbours. Both are
scored on all points of the test scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
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
POINTS = 3000  # of each training scene, drawn by the seed
FIT = LinearFit(weight_decays=(1e-4, 1e-3, 1e-2), iterations=60)
KNN = KnnConfig(rows=20_000)
# Test points whose neighbours are asked for: a comparison with 20,000 others each.
KNN_POINTS = 2000


@dataclass(frozen=True)
class Result:
    """mIoU and accuracy (of all points) in percent. probe: "linear", "linear, 5 scenes", "k-NN"."""

    probe: str
    seed: int
    miou: float
    accuracy: float


def probe(
    kind: Kind, train: Scenes, test: Scenes, classes: int, seeds: Sequence[int]
) -> list[Result]:
    """Fit on one collection of scenes, score on another, once for each seed."""
    fits: dict[tuple[str, int], LinearMap | KnnHead] = {}
    for seed, data in _gather(kind, train, seeds).items():
        fits["linear", seed] = fit_linear(data, classes, FIT, seed)
        order = np.random.default_rng(seed).permutation(len(train))
        for few in FEW:
            if few < len(train):
                some = data.scenes(sorted(order[:few]))
                fits[f"linear, {few} scenes", seed] = fit_linear(some, classes, FIT, seed)
        fits["k-NN", seed] = fit_knn(data, classes, KNN, seed)
    results = []
    for (name, seed), confusion in _count(kind, test, classes, fits).items():
        scores = confusion.scores()
        results.append(Result(name, seed, 100 * scores.miou, 100 * scores.allacc))
    return results


def _gather(kind: Kind, scenes: Scenes, seeds: Sequence[int]) -> dict[int, FeatureSet]:
    """Features and labels of some points of every scene, others for every seed."""
    draws = {seed: np.random.default_rng(seed) for seed in seeds}
    parts: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {seed: [] for seed in seeds}
    for number in range(len(scenes)):
        scene = scenes.read(number)
        features, labels = kind(scene), _labels(scene.segment)
        known = np.flatnonzero(labels >= 0)
        for seed, random in draws.items():
            rows = random.permutation(known)[:POINTS]
            parts[seed].append((features[rows], labels[rows]))
    return {
        seed: gather_features(found, len(scenes), POINTS * len(scenes))
        for seed, found in parts.items()
    }


def _count(
    kind: Kind, scenes: Scenes, classes: int, fits: dict[tuple[str, int], LinearMap | KnnHead]
) -> dict[tuple[str, int], Confusion]:
    """True against predicted classes: of all points, of neighbours' votes for some."""
    counts = {name: Confusion(classes) for name in fits}
    random = np.random.default_rng(0)
    for number in range(len(scenes)):
        scene = scenes.read(number)
        features, truth = kind(scene), _labels(scene.segment)
        some = random.permutation(len(truth))[:KNN_POINTS]
        for name, fit in fits.items():
            if isinstance(fit, LinearMap):
                counts[name].add(truth, fit.predict(features))
            else:
                votes = fit.votes(torch.from_numpy(features[some]))
                counts[name].add(truth[some], votes.argmax(1).numpy())
    return counts


def _labels(segment: np.ndarray | None) -> np.ndarray:
    assert segment is not None
    return segment.astype(np.int64)
