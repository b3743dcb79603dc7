"""How features are probed: the same scenes, points and seeds for every kind.

A linear map is fitted to labelled points of training scenes, of all of them and of a few; its
weight decay is chosen on training scenes held out. Beside it a vote of nearest neighbours. Both are
scored on all points of the test scenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.probing.kinds import Kind
from benchmarks.probing.rooms import Scenes
from concerto.heads import KnnConfig, KnnHead
from concerto.training.finetuning.linear_probe import (
    FeatureSet,
    LinearFit,
    LinearMap,
    fit_knn,
    fit_linear,
    gather_features,
    predict_all,
)
from concerto.training.scores.confusion import Confusion

SEEDS = (0, 1, 2)
FEW = (1, 5, 20)
POINTS = 3000  # of each training scene, drawn by the seed
FIT = LinearFit(weight_decays=(1e-4, 1e-3, 1e-2), iterations=60)
KNN = KnnConfig(rows=20_000)
# Test points whose neighbours are asked for: a comparison with 20,000 others each.
KNN_POINTS = 2000

Seeds = Sequence[int]
# What is compared by name: one kind, or several that are each probed with seeds of their own.
Kinds = Mapping[str, Sequence[tuple[Kind, Seeds]]]
Parts = list[tuple[np.ndarray, np.ndarray]]
Fits = dict[tuple[str, int], LinearMap | KnnHead]


@dataclass(frozen=True)
class Result:
    """mIoU and accuracy (of all points) in percent. probe: "linear", "linear, 5 scenes", "k-NN"."""

    probe: str
    seed: int
    miou: float
    accuracy: float


def probe(kinds: Kinds, train: Scenes, test: Scenes, classes: int) -> dict[str, list[Result]]:
    """Fit on one collection of scenes, score on another, once for each seed.

    A scene is read once for all kinds, as its images and points take longer to read than most kinds
    to make of them.
    """
    rows = [(name, kind, seeds) for name, parts in kinds.items() for kind, seeds in parts]
    gathered = _gather([(kind, seeds) for _, kind, seeds in rows], train)
    fits = []
    for name, _, _ in rows:
        fits.append(_fit(gathered.pop(0), classes))
        print(f"{name}: fitted", flush=True)
    counted = _count([kind for _, kind, _ in rows], test, classes, fits)
    results: dict[str, list[Result]] = {name: [] for name in kinds}
    for (row, _, _), counts in zip(rows, counted, strict=True):
        for (name, seed), confusion in counts.items():
            scores = confusion.scores()
            results[row].append(Result(name, seed, 100 * scores.miou, 100 * scores.allacc))
    return results


def _gather(kinds: Sequence[tuple[Kind, Seeds]], scenes: Scenes) -> list[dict[int, FeatureSet]]:
    """Features and labels of some points of every scene, others for every seed, of each kind."""
    draws = {seed: np.random.default_rng(seed) for _, seeds in kinds for seed in seeds}
    parts: list[dict[int, Parts]] = [{seed: [] for seed in seeds} for _, seeds in kinds]
    for number in range(len(scenes)):
        scene = scenes.read(number)
        labels = _labels(scene.segment)
        known = np.flatnonzero(labels >= 0)
        drawn = {seed: random.permutation(known)[:POINTS] for seed, random in draws.items()}
        rows = np.unique(np.concatenate([*drawn.values()]))
        for (kind, seeds), kept in zip(kinds, parts, strict=True):
            features = kind(scene, rows)
            for seed in seeds:
                own = features[np.searchsorted(rows, drawn[seed])]
                kept[seed].append((own, labels[drawn[seed]]))
    total = POINTS * len(scenes)
    return [
        {seed: gather_features(found, len(scenes), total) for seed, found in kept.items()}
        for kept in parts
    ]


def _fit(gathered: dict[int, FeatureSet], classes: int) -> Fits:
    """Linear maps of all scenes and of a few, and neighbours, for every seed."""
    fits: Fits = {}
    for seed, data in gathered.items():
        fits["linear", seed] = fit_linear(data, classes, FIT, seed)
        order = np.random.default_rng(seed).permutation(len(data.ends))
        for few in FEW:
            if few < len(order):
                some = data.scenes(sorted(order[:few]))
                fits[f"linear, {few} scenes", seed] = fit_linear(some, classes, FIT, seed)
        fits["k-NN", seed] = fit_knn(data, classes, KNN, seed)
    return fits


def _count(
    kinds: Sequence[Kind], scenes: Scenes, classes: int, fits: Sequence[Fits]
) -> list[dict[tuple[str, int], Confusion]]:
    """True against predicted classes: of all points, of neighbours' votes for some."""
    counts = [{name: Confusion(classes) for name in own} for own in fits]
    random = np.random.default_rng(0)
    for number in range(len(scenes)):
        scene = scenes.read(number)
        truth = _labels(scene.segment)
        every = np.arange(len(truth))
        some = random.permutation(len(truth))[:KNN_POINTS]
        for kind, own, counted in zip(kinds, fits, counts, strict=True):
            features = kind(scene, every)
            maps = {name: fit for name, fit in own.items() if isinstance(fit, LinearMap)}
            for name, found in zip(maps, predict_all([*maps.values()], features), strict=True):
                counted[name].add(truth, found)
            for name, fit in own.items():
                if isinstance(fit, KnnHead):
                    votes = fit.votes(torch.from_numpy(features[some]))
                    counted[name].add(truth[some], votes.argmax(1).numpy())
    return counts


def _labels(segment: np.ndarray | None) -> np.ndarray:
    assert segment is not None
    return segment.astype(np.int64)
