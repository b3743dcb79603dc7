"""The best linear map in one pass: sums over all data, then one solution.

What a least-squares map depends on are means, the covariance of the features, and their covariance
with the targets. These are sums, so data need to be seen once, in any order, on any number of
processes, and the sums of a scan of a city take no more room than those of a room.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from concerto.errors import TrainingError
from concerto.training.run.distributed import all_sum

# Rows multiplied at a time: 42 MB of float64 for features 1280 wide.
CHUNK = 2**12


@dataclass
class NormalEquations:
    """Sums over n rows of features x (C,) and targets t (D,), float64.

    count: () rows. x: (C,), t: (D,) sums. xx: (C, C), xt: (C, D) sums of products. tt: () sum of
    squared lengths of targets.
    """

    count: Tensor
    x: Tensor
    t: Tensor
    xx: Tensor
    xt: Tensor
    tt: Tensor

    @staticmethod
    def zeros(features: int, width: int, device: torch.device | str = "cpu") -> NormalEquations:
        """Of no rows. features: C. width: D. On Apple's GPUs, which have no float64, on the CPU."""
        place = torch.device(device)
        place = torch.device("cpu") if place.type == "mps" else place

        def of(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=place)

        return NormalEquations(
            of(), of(features), of(width), of(features, features), of(features, width), of()
        )

    def add(self, x: Tensor, t: Tensor, weight: Tensor | None = None) -> None:
        """Count rows in. x: (m, C); t: (m, D); weight: (m,), as which part of a row each counts."""
        for start in range(0, len(x), CHUNK):
            features, targets = (self._as_sums(rows[start : start + CHUNK]) for rows in (x, t))
            counted = torch.ones_like(features[:, 0])
            if weight is not None:
                counted = self._as_sums(weight[start : start + CHUNK])
            scaled = features * counted[:, None]
            self.count += counted.sum()
            self.x += scaled.sum(0)
            self.t += counted @ targets
            self.xx += scaled.T @ features
            self.xt += scaled.T @ targets
            self.tt += counted @ targets.square().sum(1)

    def _as_sums(self, rows: Tensor) -> Tensor:
        return rows.to(self.xx.device).double()

    def merge(self, other: NormalEquations) -> None:
        """Count the rows of others in."""
        for own, theirs in zip(self.tensors(), other.tensors(), strict=True):
            own += theirs.to(own)

    def over_processes(self) -> NormalEquations:
        """The sums over the processes of a run, the same on each."""
        return NormalEquations(*(all_sum(tensor) for tensor in self.tensors()))

    def tensors(self) -> tuple[Tensor, ...]:
        """The sums, in the order of the fields."""
        return self.count, self.x, self.t, self.xx, self.xt, self.tt

    def solve(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Weight (D, C) and bias (D,), float64: the least mean |W x + b - t|² + penalty.

        ridge: the penalty is this, times the mean variance of a feature, times |W|².

        Raises TrainingError where there are no rows, or the features do not vary or are not finite.
        """
        mean_x, mean_t, covariance, cross = self._centred()
        variance = covariance.diagonal().mean()
        if not variance > 0:
            raise TrainingError(
                f"No map can be fitted: over {int(self.count)} voxels the features have a mean "
                f"variance of {float(variance):g}."
            )
        penalty = torch.eye(len(mean_x), dtype=torch.float64, device=mean_x.device)
        factor, failed = torch.linalg.cholesky_ex(covariance + ridge * variance * penalty)
        if int(failed):
            raise TrainingError(
                f"The features of these data depend on each other, and --ridge {ridge:g} is too "
                "small to tell them apart. Raise it tenfold."
            )
        weight = torch.cholesky_solve(cross, factor).T
        return weight, mean_t - weight @ mean_x

    def loss(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Mean |W x + b - t|² over all rows, of any map, from the sums alone."""
        weight, bias = weight.double(), bias.double()
        mean_x, mean_t, covariance, cross = self._centred()
        spread = self.tt / self.count - mean_t.square().sum()
        fitted = ((weight @ covariance) * weight).sum() - 2 * (weight.T * cross).sum()
        offset = weight @ mean_x + bias - mean_t
        return spread + fitted + offset.square().sum()

    def whitening(self, floor: float) -> tuple[Tensor, Tensor]:
        """Mean (C,) and a matrix (C, C): rows of (x - mean) @ matrix.T have unit covariance.

        floor: what a variance counts as at least, times the largest.
        """
        mean_x, _, covariance, _ = self._centred()
        values, vectors = torch.linalg.eigh(covariance)
        scale = values.clamp(min=floor * float(values[-1])).rsqrt()
        return mean_x, scale[:, None] * vectors.T

    def _centred(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if not self.count:
            raise TrainingError("No map can be fitted: nothing is known of any voxel.")
        mean_x, mean_t = self.x / self.count, self.t / self.count
        covariance = self.xx / self.count - torch.outer(mean_x, mean_x)
        return mean_x, mean_t, covariance, self.xt / self.count - torch.outer(mean_x, mean_t)
