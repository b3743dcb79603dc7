"""A linear map or a vote of neighbours fitted to features that are computed once.

Features of whatever kind go in, from an encoder or an image lifted to the points, scene by scene;
what comes out is scored the same way. So kinds of features can be compared with nothing else
different. The fit is convex, by L-BFGS, and has no learning rate; how strongly weights are held
back is chosen on scenes that are left out of the first fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.errors import ConfigError, InputError
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
    """Of L-BFGS, at most; a third of them where only the weight decay is chosen."""
    points: int = 100_000
    """Labelled voxels that are kept at most, evenly of all scenes, at random of each."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        if not self.weight_decays or not all(decay >= 0 for decay in self.weight_decays):
            decays = ", ".join(f"{decay:g}" for decay in self.weight_decays) or "empty"
            raise ConfigError(f"fit.weight_decays is {decays}; give at least one, from 0 on.")
        for name in ("iterations", "points"):
            if getattr(self, name) < 1:
                raise ConfigError(f"fit.{name} is {getattr(self, name)}; it must be at least 1.")


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
    scenes: Iterable[tuple[np.ndarray, np.ndarray]], count: int, points: int, seed: int = 0
) -> FeatureSet:
    """Keep the labelled features of scenes, in float16.

    scenes: features (n, C) floats and labels (n,) integers of each, -1 for none. count: how many
    scenes come. points: to keep at most; a scene with more than its share is thinned at random.

    Raises InputError where no point has a label.
    """
    random = np.random.default_rng(seed)
    features, labels = [], []
    for feat, segment in scenes:
        rows = np.flatnonzero(segment >= 0)
        share = max(1, points // count)
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
    features = torch.from_numpy(data.features).float().sub_(mean).div_(spread)
    labels = torch.from_numpy(data.labels)
    decay = fit.weight_decays[0]
    if len(fit.weight_decays) > 1:
        decay = _choose_decay(features, labels, _held_out(data, seed), classes, fit)
    weight, bias = _minimise(features, labels, classes, decay, fit.iterations, None)
    # The same map for features as they come.
    weight = weight / spread
    return LinearMap(weight, bias - weight @ mean, decay)


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
    features: Tensor, labels: Tensor, held_out: Tensor, classes: int, fit: LinearFit
) -> float:
    """The weight decay that does best on what is held out, warm-started from strong to weak.

    features: (n, C), standardised. held_out: (n,) bool.
    """
    train, known = features[~held_out], labels[~held_out]
    best, chosen, start = -1.0, fit.weight_decays[0], None
    for decay in sorted(fit.weight_decays, reverse=True):
        start = _minimise(train, known, classes, decay, -(-fit.iterations // 3), start)
        found = F.linear(features[held_out], *start).argmax(1)
        miou = score([(labels[held_out].numpy(), found.numpy())], classes).scores().miou
        if miou > best:
            best, chosen = miou, decay
    return chosen


def _held_out(data: FeatureSet, seed: int) -> Tensor:
    """(n,) bool: rows of a fifth of the labelled scenes; of a single one, a fifth of its rows."""
    random = np.random.default_rng(seed)
    sizes = np.diff(data.ends, prepend=0)
    labelled = np.flatnonzero(sizes)
    if len(labelled) == 1:
        return torch.from_numpy(random.random(len(data.labels)) < HELD_OUT)
    count = max(1, round(HELD_OUT * len(labelled)))
    chosen = np.zeros(len(sizes), bool)
    chosen[labelled[random.permutation(len(labelled))[:count]]] = True
    return torch.from_numpy(np.repeat(chosen, sizes))


def _minimise(
    features: Tensor,
    labels: Tensor,
    classes: int,
    decay: float,
    iterations: int,
    start: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Weight and bias with the least cross-entropy + decay / 2 · |weight|², by L-BFGS."""
    weight, bias = start or (torch.zeros(classes, features.shape[1]), torch.zeros(classes))
    weight, bias = (value.clone().requires_grad_() for value in (weight, bias))
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        history_size=10,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        solver.zero_grad()
        logits = F.linear(features, weight, bias)
        total = cross_entropy(logits, labels) + decay / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    solver.step(loss)  # type: ignore[arg-type]
    return weight.detach(), bias.detach()


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


def _half(features: np.ndarray) -> np.ndarray:
    """As float16, whose range ends at 65,504."""
    most = np.finfo(np.float16).max
    return np.asarray(features.clip(-most, most).astype(np.float16))
