"""Which samples show the same scene, and which of those have points of their own.

A scene with many images is stored as several samples, each with four of the images and all of the
points. To pretraining each is a sample; to whoever counts scenes, labels or points they are one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from concerto.training.scenes.samples import Sample
from concerto.training.scenes.sources import BROKEN, SceneSource


def group_by_scene(source: SceneSource) -> tuple[tuple[int, ...], ...]:
    """The numbers of the samples of each scene, in the order of its first one. Reads none."""
    groups: dict[str, list[int]] = {}
    for number, scene in enumerate(source.scenes):
        groups.setdefault(scene, []).append(number)
    return tuple(map(tuple, groups.values()))


def without_repeats(source: SceneSource, samples: Sequence[int]) -> Iterator[Sample]:
    """Samples of one scene, but for those whose points came before.

    What is left is mostly one; several where a scene is stored in parts.
    """
    seen = set()
    for number in samples:
        sample = source[number]
        points = _digest(sample)
        if points not in seen:
            seen.add(points)
            yield sample


def distinct_samples(source: SceneSource) -> tuple[int, ...]:
    """The numbers, in order, of samples of which no two have the points of one scene.

    Only scenes of several samples are read. A broken sample stays, for whoever reads it next to
    tell of it and count it.
    """
    from tqdm import tqdm

    groups = group_by_scene(source)
    chosen = [group[0] for group in groups if len(group) == 1]
    several = [group for group in groups if len(group) > 1]
    for group in tqdm(several, "points", leave=False, unit="scene", disable=None):
        seen = set()
        for number in group:
            try:
                points = _digest(source[number])
            except BROKEN:
                chosen.append(number)
                continue
            if points not in seen:
                seen.add(points)
                chosen.append(number)
    return tuple(sorted(chosen))


def _digest(sample: Sample) -> bytes:
    """Of a sample's points."""
    return hashlib.sha256(sample.coord.tobytes()).digest()
