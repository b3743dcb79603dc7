"""Labelled scenes with all images that see them, in samples as training reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from concerto.training.samples import Sample
from concerto.training.scenes import SceneSource


@dataclass(frozen=True)
class Scenes:
    """Scenes by number. samples: the numbers of each scene's samples, which share its points."""

    source: SceneSource
    samples: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, number: int) -> Sample:
        """A scene with the images of all its samples."""
        first, *others = (self.source[index] for index in self.samples[number])
        images, seen = list(first.images), list(first.seen)
        for other in others:
            images += other.images
            seen += other.seen
        return replace(first, images=tuple(images), seen=tuple(seen))


def group_samples(source: SceneSource) -> Scenes:
    """Bring samples of the same points, which lie one after another, together."""
    return Scenes(source, tuple(_groups(source)))


def _groups(source: SceneSource) -> Iterator[tuple[int, ...]]:
    group: list[int] = []
    coord = np.empty((0, 3))
    for index in range(len(source)):
        sample = source[index]
        if group and not np.array_equal(sample.coord, coord):
            yield tuple(group)
            group = []
        group.append(index)
        coord = sample.coord
    yield tuple(group)
