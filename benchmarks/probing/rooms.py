"""Labelled scenes with all images that see them, in samples as training reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from concerto.errors import InputError
from concerto.training.scenes.groups import group_by_scene
from concerto.training.scenes.samples import Sample
from concerto.training.scenes.sources import SceneSource


@dataclass(frozen=True)
class Scenes:
    """Scenes by number. samples: the numbers of each scene's samples, which share its points."""

    source: SceneSource
    samples: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, number: int) -> Sample:
        """A scene with the images of all its samples.

        Raises InputError where these are not of the same points.
        """
        first, *others = (self.source[index] for index in self.samples[number])
        images, seen = list(first.images), list(first.seen)
        for other in others:
            if not np.array_equal(other.coord, first.coord):
                raise InputError(f"{other.name} and {first.name} are of one scene in parts.")
            images += other.images
            seen += other.seen
        return replace(first, images=tuple(images), seen=tuple(seen))


def whole_scenes(source: SceneSource) -> Scenes:
    """Bring the samples of each scene together."""
    return Scenes(source, group_by_scene(source))
