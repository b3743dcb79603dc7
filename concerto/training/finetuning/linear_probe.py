"""A linear map or a vote of neighbours fitted to features that are computed once.

Features of whatever kind go in, from an encoder or an image lifted to the points, scene by scene;
what comes out is scored the same way. So kinds of features can be compared with nothing else
different. The fit is convex, by L-BFGS, and has no learning rate; how strongly weights are held
back is chosen on scenes that are left out of the first fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.errors import ConfigError, InputError
from concerto.heads import KnnConfig, KnnHead
from concerto.training.scores.confusion import Confusion

# Rows worked on at a time, so that what is computed of them stays small.
CHUNK = 2**15
# Rows of a block: products of some hundred columns are the fastest.
BLOCK = 2**9
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
    choose = row_choice(count, points, seed)
    features, labels = [], []
    for feat, segment in scenes:
        rows = choose(segment)
        features.append(_half(feat[rows]))
        labels.append(segment[rows].astype(np.int64))
        del feat, segment  # all of a scene: not to be held while the next is made
    if not sum(map(len, labels)):
        raise InputError(f"None of the points of the {count} scenes to fit to has a label.")
    ends = np.cumsum([len(part) for part in labels])
    return FeatureSet(np.concatenate(features), np.concatenate(labels), ends)


def row_choice(count: int, points: int, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """What tells, by the labels (n,) of one scene after another, the rows that `gather_features`
    keeps of each. So who makes features can leave the others out, and the same are kept."""
    random, share = np.random.default_rng(seed), max(1, points // count)

    def choose(labels: np.ndarray) -> np.ndarray:
        rows = labelled_rows(labels)
        if len(rows) > share:
            rows = np.sort(random.choice(rows, share, replace=False))
        return rows

    return choose


def labelled_rows(labels: np.ndarray) -> np.ndarray:
    """The rows of labels (n,) that have one."""
    return np.flatnonzero(labels >= 0)


@dataclass(frozen=True)
class LinearMap:
    """weight: (K, C) float32, bias: (K,) float32, for features as they come. weight_decay: the one
    that was chosen."""

    weight: Tensor
    bias: Tensor
    weight_decay: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The class of each row: (n, C) → (n,) int64."""
        return predict_all([self], features)[0]


def predict_all(maps: Sequence[LinearMap], features: np.ndarray) -> list[np.ndarray]:
    """The class of each row by each of some maps of as many classes: (n, C) → (n,) int64 each.

    One product for all is wide enough to be fast.
    """
    weight, bias = torch.cat([one.weight for one in maps]), torch.cat([one.bias for one in maps])
    found = []
    for part in torch.from_numpy(np.asarray(features)).split(CHUNK):
        logits = F.linear(part.float(), weight, bias)
        found.append(logits.unflatten(1, (len(maps), -1)).argmax(2))
    return list(torch.cat(found).T.numpy())


def fit_linear(
    data: FeatureSet, classes: int, fit: LinearFit | None = None, seed: int = 0
) -> LinearMap:
    """The linear map with the least cross-entropy, its weight decay chosen by mIoU on scenes held
    out, then fitted to all. seed: which scenes are held out."""
    fit = LinearFit() if fit is None else fit
    scale = _moments(data.features)
    decay = fit.weight_decays[0]
    if len(fit.weight_decays) > 1:
        held_out = _held_out(data, seed)
        decay = _choose_decay(
            _lay(data, ~held_out, scale), _lay(data, held_out, scale), classes, fit
        )
    everything = _lay(data, np.ones(len(data.labels), bool), scale)
    weight, bias = _minimise(everything, classes, decay, fit.iterations, None)
    # The same map for features as they come.
    weight = weight / scale.spread
    return LinearMap(weight, bias - weight @ scale.mean, decay)


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


class _Scale(NamedTuple):
    """Mean and standard deviation (C,) of each channel; 1 where a channel is constant."""

    mean: Tensor
    spread: Tensor


class _Blocks(NamedTuple):
    """Rows, standardised, in b blocks; the last one is filled up with zeros. Few classes are
    multiplied faster so than with rows as they are.

    features: (b, C, BLOCK). labels: (b, 1, BLOCK). known: (b, 1, BLOCK), 1 where there is a row.
    """

    features: Tensor
    labels: Tensor
    known: Tensor

    def logits(self, weight: Tensor, bias: Tensor) -> Tensor:
        """(b, K, BLOCK)."""
        return torch.baddbmm(bias[:, None], weight.expand(len(self.known), -1, -1), self.features)


def _lay(data: FeatureSet, rows: np.ndarray, scale: _Scale) -> _Blocks:
    """Some rows of the data. rows: (n,) bool."""
    chosen = np.flatnonzero(rows)
    count = max(1, -(-len(chosen) // BLOCK))
    laid = _Blocks(
        torch.zeros(count, len(scale.mean), BLOCK),
        torch.zeros(count, 1, BLOCK, dtype=torch.int64),
        torch.zeros(count, 1, BLOCK),
    )
    for block in range(count):
        some = chosen[block * BLOCK : (block + 1) * BLOCK]
        features = torch.from_numpy(data.features[some]).float()
        laid.features[block, :, : len(some)] = features.sub_(scale.mean).div_(scale.spread).T
        laid.labels[block, 0, : len(some)] = torch.from_numpy(data.labels[some])
        laid.known[block, 0, : len(some)] = 1
    return laid


def _choose_decay(train: _Blocks, held_out: _Blocks, classes: int, fit: LinearFit) -> float:
    """The weight decay that does best on what is held out, warm-started from strong to weak."""
    known = held_out.known.bool()
    truth = held_out.labels[known].numpy()
    best, chosen, start = -1.0, fit.weight_decays[0], None
    for decay in sorted(fit.weight_decays, reverse=True):
        start = _minimise(train, classes, decay, -(-fit.iterations // 3), start)
        found = held_out.logits(*start).argmax(1, keepdim=True)[known].numpy()
        miou = score([(truth, found)], classes).scores().miou
        if miou > best:
            best, chosen = miou, decay
    return chosen


def _held_out(data: FeatureSet, seed: int) -> np.ndarray:
    """(n,) bool: rows of a fifth of the labelled scenes; of a single one, a fifth of its rows."""
    random = np.random.default_rng(seed)
    sizes = np.diff(data.ends, prepend=0)
    labelled = np.flatnonzero(sizes)
    if len(labelled) == 1:
        return random.random(len(data.labels)) < HELD_OUT
    count = max(1, round(HELD_OUT * len(labelled)))
    chosen = np.zeros(len(sizes), bool)
    chosen[labelled[random.permutation(len(labelled))[:count]]] = True
    return np.repeat(chosen, sizes)


def _minimise(
    data: _Blocks,
    classes: int,
    decay: float,
    iterations: int,
    start: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Weight and bias with the least cross-entropy + decay / 2 · |weight|², by L-BFGS."""
    weight, bias = start or (torch.zeros(classes, data.features.shape[1]), torch.zeros(classes))
    weight, bias = weight.clone(), bias.clone()
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        history_size=10,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )
    columns = data.features.transpose(1, 2)
    rows = data.known.sum().clamp(min=1)

    def loss() -> Tensor:
        """Mean over the rows; leaves its gradient."""
        logits = data.logits(weight, bias)
        most, true = logits.amax(1, keepdim=True), logits.gather(1, data.labels)
        shares = logits.sub_(most).exp_()
        total = shares.sum(1, keepdim=True)
        losses = (total.log() + most - true).mul_(data.known)
        shares.mul_(data.known / total).scatter_add_(1, data.labels, -data.known)
        weight.grad = torch.bmm(shares, columns).sum(0).div_(rows).add_(weight, alpha=decay)
        bias.grad = shares.sum((0, 2)).div_(rows)
        return losses.sum() / rows + decay / 2 * weight.square().sum()

    solver.step(loss)  # type: ignore[arg-type]
    return weight, bias


def _moments(features: np.ndarray) -> _Scale:
    total = np.zeros(features.shape[1])
    squares = np.zeros(features.shape[1])
    for start in range(0, len(features), CHUNK):
        part = features[start : start + CHUNK].astype(np.float64)
        total += part.sum(0)
        squares += (part**2).sum(0)
    mean = total / len(features)
    spread = np.sqrt(np.maximum(squares / len(features) - mean**2, 0))
    spread[spread < 1e-6 * max(1.0, float(np.abs(mean).max()))] = 1
    return _Scale(torch.from_numpy(mean).float(), torch.from_numpy(spread).float())


def _half(features: np.ndarray) -> np.ndarray:
    """As float16, whose range ends at 65,504."""
    most = np.finfo(np.float16).max
    return np.asarray(features.clip(-most, most).astype(np.float16))
