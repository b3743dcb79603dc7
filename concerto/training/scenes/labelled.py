"""Scenes for learning classes: which of the labels count, of which scenes, of which points.

Each of these is a source of samples around another, so that they can be put around one another.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from concerto.errors import ConcertoWarning, InputError
from concerto.training.scenes.groups import group_by_scene
from concerto.training.scenes.parquet_format import check_classes
from concerto.training.scenes.samples import Sample
from concerto.training.scenes.seeds import sample_seed
from concerto.training.scenes.sources import SceneSource


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

    @property
    def scenes(self) -> Sequence[str]:
        """Those of the source."""
        return self.source.scenes

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """A sample. Raises InputError, with the value, where a label is none of the classes."""
        sample = self.source[index]
        return replace(sample, segment=self._counted(index, sample.segment))

    def segment(self, index: int) -> np.ndarray | None:
        """The labels of a sample; raises as for the sample."""
        return self._counted(index, self.source.segment(index))

    def _counted(self, index: int, segment: np.ndarray | None) -> np.ndarray | None:
        """The source's labels as those of the classes."""
        if segment is None:
            return None
        # Of several places one may have labels without names, beside another that names its own.
        known = self.source.classes or self.classes
        if segment.max(initial=-1) >= len(known):
            check_classes(segment, known, f"The points in {self.source.scenes[index]}")
        return np.asarray(self._numbers[segment])

    @cached_property
    def _numbers(self) -> np.ndarray:
        """Old label → new, -1 last so that -1 leads to it."""
        known = self.source.classes or self.classes
        numbers = [self.classes.index(name) if name in self.classes else -1 for name in known]
        return np.array([*numbers, -1], np.int16)


@dataclass(frozen=True)
class Chosen:
    """Some samples of a source, by their numbers."""

    source: SceneSource
    samples: tuple[int, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the source."""
        return self.source.classes

    @cached_property
    def scenes(self) -> Sequence[str]:
        """The scene of each chosen sample."""
        scenes = self.source.scenes
        return [scenes[number] for number in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        """One of those chosen."""
        return self.source[self._number(index)]

    def segment(self, index: int) -> np.ndarray | None:
        """The labels of one of those chosen."""
        return self.source.segment(self._number(index))

    def _number(self, index: int) -> int:
        """Of a sample in the source."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.samples[index]


def labelled_samples(source: SceneSource) -> tuple[int, ...]:
    """The numbers of the samples that have labels; how many have none is warned of.

    Reads the labels of every sample. Raises InputError where none has any.
    """
    labelled = tuple(k for k in range(len(source)) if source.segment(k) is not None)
    if not labelled:
        raise InputError(f"None of the {len(source)} samples has labels.")
    if len(labelled) < len(source):
        warnings.warn(
            f"{len(source) - len(labelled)} of the {len(source)} samples have no labels, and are "
            "left out.",
            ConcertoWarning,
            stacklevel=2,
        )
    return labelled


def choose_scenes(source: SceneSource, share: float, seed: int) -> Chosen:
    """All samples of a share of the scenes, drawn by the seed; of one scene at least.

    A larger share holds all scenes of a smaller one. Raises InputError where it is no share.
    """
    if not 0 < share <= 1:
        raise InputError(f"scenes is {share:g}; it is a share of them, over 0 and up to 1.")
    groups = group_by_scene(source)
    count = max(1, math.floor(share * len(groups) + 0.5))
    order = np.random.default_rng(seed).permutation(len(groups))[:count]
    return Chosen(source, tuple(sorted(number for at in order for number in groups[at])))


@dataclass(frozen=True)
class SomeLabels:
    """Scenes of which so many points, drawn once for each, keep their label.

    More points hold all of fewer ones. Of a scene in several samples they are drawn from all, which
    must have points of their own each (`distinct_samples`).
    """

    source: SceneSource
    points: int
    seed: int
    _kept: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.points < 1:
            raise InputError(
                f"labels is {self.points}; at least 1 point a scene must keep its own."
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the source."""
        return self.source.classes

    @property
    def scenes(self) -> Sequence[str]:
        """Those of the source."""
        return self.source.scenes

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """A sample with most of its labels gone."""
        sample = self.source[index]
        return replace(sample, segment=self._thinned(index, sample.segment))

    def segment(self, index: int) -> np.ndarray | None:
        """The labels of a sample, most of them gone."""
        return self._thinned(index, self.source.segment(index))

    def _thinned(self, index: int, segment: np.ndarray | None) -> np.ndarray | None:
        """The source's labels of a sample, but for those that go."""
        if segment is None:
            return None
        if index not in self._kept:
            self._draw(index)
        kept, thinned = self._kept[index], np.full_like(segment, -1)
        thinned[kept] = segment[kept]
        return thinned

    def _draw(self, index: int) -> None:
        """Decide which rows of each sample of the scene of a sample stay."""
        group = next(group for group in self._groups if index in group)
        parts = [self.source.segment(number) for number in group]
        # Of a sample without labels, none.
        known = [np.flatnonzero(np.full(0, -1) if p is None else p >= 0) for p in parts]
        owner, row = np.repeat(group, list(map(len, known))), np.concatenate(known)
        # By the name, so that it does not matter which other scenes there are.
        name = zlib.crc32(self.scenes[index].encode())
        random = np.random.default_rng(sample_seed(self.seed, 0, name))
        drawn = random.permutation(len(row))[: self.points]
        for number in group:
            self._kept[number] = row[drawn[owner[drawn] == number]]

    @cached_property
    def _groups(self) -> tuple[tuple[int, ...], ...]:
        return group_by_scene(self.source)


def count_classes(source: SceneSource) -> np.ndarray:
    """How many points have each class, (K,) int64: reads the labels of every sample once.

    Raises InputError where no point has any.
    """
    counts = np.zeros(len(source.classes), np.int64)
    for index in range(len(source)):
        segment = source.segment(index)
        if segment is not None:
            counts += np.bincount(segment[segment >= 0], minlength=len(counts))
    if not counts.any():
        raise InputError(
            f"None of the points of the {len(source)} samples has a label: there is nothing to "
            "learn from."
        )
    return counts
