"""A linear map or a vote of neighbours fitted to features that are computed once.

Features of whatever kind go in, from an encoder or an image lifted to the points, scene by scene;
what comes out is scored the same way. So kinds of features can be compared with nothing else
different. The fit is convex, by L-BFGS, and has no learning rate; how strongly weights are held
back is chosen on scenes that are left out of the first fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.errors import InputError
from concerto.heads import KnnConfig, KnnHead
from concerto.training.losses import cross_entropy
from concerto.training.scores import Confusion

# Rows worked on at a time, so that what is computed of them stays small.
CHUNK = 2**15
# Share of the scenes, or of the points of a single one, that weight decay is chosen on.
HELD_OUT = 0.2


@dataclass(frozen=True)
class LinearFit:
    """How a linear map is fitted."""

    weight_decays: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    """What to choose from: factors on half the squared weights, for features of unit variance."""
    iterations: int = 100
    """Of L-BFGS, at most."""
    max_bytes: int = 2**30
    """Bound on the features kept; of larger data, as many points of every scene as fit."""


@dataclass(frozen=True)
class FeatureSet:
    """Labelled features, scene after scene.

    features: (n, C) float16. labels: (n,) int64 >= 0. ends: (S,) int64 ends of the scenes' rows.
    """

    features: np.ndarray
    labels: np.ndarray
    ends: np.ndarray

    def scenes(self, chosen: Sequence[int]) -> FeatureSet:
        """Those scenes alone."""
        starts = np.concatenate([[0], self.ends[:-1]])
        rows = np.concatenate([np.arange(starts[s], self.ends[s]) for s in chosen])
        sizes = [self.ends[s] - starts[s] for s in chosen]
        return FeatureSet(self.features[rows], self.labels[rows], np.cumsum(sizes))


def gather_features(
    scenes: Iterable[tuple[np.ndarray, np.ndarray]], count: int, max_bytes: int, seed: int = 0
) -> FeatureSet:
    """Keep the labelled features of scenes, in float16.

    scenes: features (n, C) floats and labels (n,) integers of each, -1 for none. count: how many
    scenes come. max_bytes: of the features; a scene with more than its share is thinned at random.

    Raises InputError where no point has a label.
    """
    random = np.random.default_rng(seed)
    features, labels = [], []
    for feat, segment in scenes:
        rows = np.flatnonzero(segment >= 0)
        share = max(1, max_bytes // (2 * feat.shape[1] * count))
        if len(rows) > share:
            rows = np.sort(random.choice(rows, share, replace=False))
        features.append(_half(feat[rows]))
        labels.append(segment[rows].astype(np.int64))
    if not sum(map(len, labels)):
        raise InputError(f"None of the points of the {count} scenes to fit to has a label.")
    ends = np.cumsum([len(part) for part in labels])
    return FeatureSet(np.concatenate(features), np.concatenate(labels), ends)


@dataclass(frozen=True)
class LinearMap:
    """weight: (K, C) float32, bias: (K,) float32, for features as they come. weight_decay: the one
    that was chosen."""

    weight: Tensor
    bias: Tensor
    weight_decay: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The class of each row: (n, C) → (n,) int64."""
        parts = torch.from_numpy(np.asarray(features)).split(CHUNK)
        found = [F.linear(part.float(), self.weight, self.bias).argmax(1) for part in parts]
        return np.asarray(torch.cat(found).numpy())


def fit_linear(
    data: FeatureSet, classes: int, fit: LinearFit | None = None, seed: int = 0
) -> LinearMap:
    """The linear map with the least cross-entropy, its weight decay chosen by mIoU on scenes held
    out, then fitted to all. seed: which scenes are held out."""
    fit = LinearFit() if fit is None else fit
    mean, spread = _moments(data.features)
    decay = fit.weight_decays[0]
    if len(fit.weight_decays) > 1:
        decay = _choose_decay(data, classes, fit, seed, mean, spread)
    weight, bias = _minimise(data, classes, decay, fit.iterations, mean, spread, None)
    return _unstandardised(weight, bias, mean, spread, decay)


def fit_knn(data: FeatureSet, classes: int, config: KnnConfig, seed: int = 0) -> KnnHead:
    """A head that lets the nearest of these features vote.

    As many of every class are kept as there are, up to an even share of `config.rows`: so common
    classes do not outvote rare ones by their number alone.
    """
    random = np.random.default_rng(seed)
    share = max(1, config.rows // classes)
    rows = np.concatenate(
        [
            random.permutation(np.flatnonzero(data.labels == number))[:share]
            for number in range(classes)
        ]
    )
    head = KnnHead(replace(config, rows=len(rows)), data.features.shape[1], classes)
    head.features.copy_(F.normalize(torch.from_numpy(data.features[rows]).float(), dim=1))
    head.labels.copy_(torch.from_numpy(data.labels[rows]))
    return head


def score(predictions: Iterable[tuple[np.ndarray, np.ndarray]], classes: int) -> Confusion:
    """Count true against predicted classes, (n,) integers each, over scenes."""
    confusion = Confusion(classes)
    for truth, predicted in predictions:
        confusion.add(truth, predicted)
    return confusion


def _choose_decay(
    data: FeatureSet, classes: int, fit: LinearFit, seed: int, mean: Tensor, spread: Tensor
) -> float:
    """The weight decay that does best on what is held out, warm-started from strong to weak."""
    train, held_out = _split(data, seed)
    best, chosen, start = -1.0, fit.weight_decays[0], None
    for decay in sorted(fit.weight_decays, reverse=True):
        start = _minimise(train, classes, decay, fit.iterations, mean, spread, start)
        mapped = _unstandardised(*start, mean, spread, decay)
        confusion = score([(held_out.labels, mapped.predict(held_out.features))], classes)
        miou = confusion.scores().miou
        if miou > best:
            best, chosen = miou, decay
    return chosen


def _split(data: FeatureSet, seed: int) -> tuple[FeatureSet, FeatureSet]:
    """Scenes to fit to and scenes held out; of a single scene, points."""
    if len(data.ends) == 1:
        data = FeatureSet(data.features, data.labels, np.arange(1, len(data.labels) + 1))
    count = len(data.ends)
    order = np.random.default_rng(seed).permutation(count)
    held = max(1, round(HELD_OUT * count))
    if count == 1:
        return data, data
    return data.scenes(sorted(order[held:])), data.scenes(sorted(order[:held]))


def _minimise(
    data: FeatureSet,
    classes: int,
    decay: float,
    iterations: int,
    mean: Tensor,
    spread: Tensor,
    start: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Weight and bias for features of zero mean and unit variance, by L-BFGS."""
    width = data.features.shape[1]
    weight, bias = start or (torch.zeros(classes, width), torch.zeros(classes))
    weight, bias = (value.clone().requires_grad_() for value in (weight, bias))
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        history_size=10,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        solver.zero_grad()
        total = decay / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        value = total.item()
        for features, labels in _chunks(data):
            logits = F.linear((features.float() - mean) / spread, weight, bias)
            part = cross_entropy(logits, labels) * (len(labels) / len(data.labels))
            part.backward()  # type: ignore[no-untyped-call]
            value += part.item()
        return value

    solver.step(loss)
    return weight.detach(), bias.detach()


def _unstandardised(
    weight: Tensor, bias: Tensor, mean: Tensor, spread: Tensor, decay: float
) -> LinearMap:
    """The same map for features as they come."""
    own = weight / spread
    return LinearMap(own, bias - own @ mean, decay)


def _moments(features: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of each channel; 1 where a channel is constant."""
    total = np.zeros(features.shape[1])
    squares = np.zeros(features.shape[1])
    for start in range(0, len(features), CHUNK):
        part = features[start : start + CHUNK].astype(np.float64)
        total += part.sum(0)
        squares += (part**2).sum(0)
    mean = total / len(features)
    spread = np.sqrt(np.maximum(squares / len(features) - mean**2, 0))
    spread[spread < 1e-6 * max(1.0, float(np.abs(mean).max()))] = 1
    return torch.from_numpy(mean).float(), torch.from_numpy(spread).float()


def _chunks(data: FeatureSet) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(data.labels), CHUNK):
        rows = slice(start, start + CHUNK)
        yield torch.from_numpy(data.features[rows]), torch.from_numpy(data.labels[rows])


def _half(features: np.ndarray) -> np.ndarray:
    """As float16, whose range ends at 65,504."""
    most = np.finfo(np.float16).max
    return np.asarray(features.clip(-most, most).astype(np.float16))
