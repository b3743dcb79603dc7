"""Scenes for learning classes: which of the labels count, of which scenes, of which points.

Each of these is a source of samples around another, so that they can be put around one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from concerto.errors import InputError
from concerto.training.parquet_format import check_classes
from concerto.training.samples import Sample
from concerto.training.scenes import SceneSource
from concerto.training.seeds import sample_seed


@dataclass(frozen=True)
class ClassesOf:
    """Samples whose labels count the `classes` in their order; others become -1."""

    source: SceneSource
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises InputError where a class is not one of the source's, or none is named."""
        known = self.source.classes
        if not self.classes:
            raise InputError(
                "The data do not say what their classes are called: pass --classes NAME,NAME,… in "
                "the order of their labels. Data without labels cannot be learnt from."
            )
        unknown = [name for name in self.classes if known and name not in known]
        if unknown or len(set(self.classes)) < len(self.classes):
            raise InputError(
                f"classes are {', '.join(self.classes)}; each must be named once and be one of the "
                f"data's, which are {', '.join(known)}."
            )

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """A sample. Raises InputError, with the value, where a label is none of the classes."""
        sample = self.source[index]
        if sample.segment is None:
            return sample
        # Labels that nobody named are checked against the names given here.
        check_classes(sample.segment, self.source.classes or self.classes, f"{sample.name!r}")
        return replace(sample, segment=self._numbers[sample.segment])

    @cached_property
    def _numbers(self) -> np.ndarray:
        """Old label → new, -1 last so that -1 leads to it."""
        known = self.source.classes or self.classes
        numbers = [self.classes.index(name) if name in self.classes else -1 for name in known]
        return np.array([*numbers, -1], np.int16)


@dataclass(frozen=True)
class SomeScenes:
    """A share of the samples, drawn once, at least one."""

    source: SceneSource
    share: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(
                f"scenes is {self.share:g}; it is a share of them, over 0 and up to 1."
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the source."""
        return self.source.classes

    def __len__(self) -> int:
        return max(1, math.floor(self.share * len(self.source) + 0.5))

    def __getitem__(self, index: int) -> Sample:
        """One of the samples drawn."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.source[self._chosen[index]]

    @cached_property
    def _chosen(self) -> Sequence[int]:
        # A larger share holds all of a smaller one.
        order = np.random.default_rng(self.seed).permutation(len(self.source))
        return sorted(order[: len(self)].tolist())


@dataclass(frozen=True)
class SomeLabels:
    """Samples of which so many points, drawn once for each, keep their label."""

    source: SceneSource
    points: int
    seed: int

    def __post_init__(self) -> None:
        if self.points < 1:
            raise InputError(
                f"labels is {self.points}; at least 1 point a scene must keep its own."
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the source."""
        return self.source.classes

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """A sample with most of its labels gone."""
        sample = self.source[index]
        if sample.segment is None:
            return sample
        random = np.random.default_rng(sample_seed(self.seed, 0, index))
        known = np.flatnonzero(sample.segment >= 0)
        kept = random.choice(known, min(self.points, len(known)), replace=False)
        segment = np.full_like(sample.segment, -1)
        segment[kept] = sample.segment[kept]
        return replace(sample, segment=segment)


def count_classes(source: SceneSource) -> np.ndarray:
    """How many points have each class, (K,) int64: reads every sample once.

    Raises InputError where no point has any.
    """
    counts = np.zeros(len(source.classes), np.int64)
    for index in range(len(source)):
        segment = source[index].segment
        if segment is not None:
            counts += np.bincount(segment[segment >= 0], minlength=len(counts))
    if not counts.any():
        raise InputError(
            f"None of the points of the {len(source)} samples has a label: there is nothing to "
            "learn from."
        )
    return counts
