"""What all converters of labelled scenes share: scene after scene is read, checked and written.

A converter says which scenes each split has, and how one is read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from concerto.errors import ConcertoWarning, InputError
from concerto.training.prepare.in_order import in_order, usable
from concerto.training.prepare.output import Destination
from concerto.training.scenes.check_sample import MOST_VOXELS, check_arrays, extent_of
from concerto.training.scenes.encoded import GRID_SIZE, EncodedSample

Scene = TypeVar("Scene")


@dataclass(frozen=True)
class ConvertOptions:
    """How the scenes are worked on."""

    workers: int = 1
    """Scenes to work on at a time, each by a process."""
    skip_bad: bool = False
    """Leave out scenes that cannot be used, with a warning, instead of stopping."""


@dataclass(frozen=True)
class Converted:
    """A scene, and what is to be said of it."""

    sample: EncodedSample
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """What the card says of the data that scenes are made from.

    source: its name. terms: whose it is, and where its terms of use stand. license: as the Hub
    names it, or None. facts: what decides how its scenes come out.
    """

    source: str
    terms: str | None
    license: str | None
    facts: dict[str, Any]


def convert(
    data: DataSet,
    out: Path,
    splits: Mapping[str, Sequence[Scene]],
    read: Callable[[Scene], Converted],
    classes: Sequence[str],
    destination: Destination,
    options: ConvertOptions,
) -> None:
    """Read all scenes and write them as splits of the folder `out`.

    splits: the scenes by the name of the split. read: picklable; raises InputError where a scene
    cannot be used. classes: names of what labels count; each only once.

    Raises InputError where there is no split, one is empty, a scene cannot be used, or no point of
    a split has a class though its scenes have labels.
    """
    _check_classes(classes)
    if not splits:
        raise InputError("No split is asked for; name at least one, such as train.")
    for split, scenes in splits.items():
        if not scenes:
            raise InputError(f"The split {split} is empty: it has no scenes.")
    samples = {
        split: _samples(split, scenes, read, classes, options) for split, scenes in splits.items()
    }
    terms = {} if data.terms is None else {"terms": data.terms}
    destination = replace(destination, license=destination.license or data.license)
    facts = {"from": data.source, **terms, **data.facts}
    destination.write_splits(out, samples, facts, classes)


def _check_classes(classes: Sequence[str]) -> None:
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice or not classes:
        what = f"{', '.join(twice)} more than once" if twice else "none"
        raise InputError(f"The classes hold {what}; each class needs a name of its own.")


def _samples(
    split: str,
    scenes: Sequence[Scene],
    read: Callable[[Scene], Converted],
    classes: Sequence[str],
    options: ConvertOptions,
) -> Iterator[EncodedSample]:
    """The samples of a split; what is to be said of them is said."""
    points, labelled = np.zeros(len(classes), np.int64), False
    attempts = in_order(partial(_attempt, read, len(classes)), scenes, options.workers)
    shown = tqdm(attempts, split, total=len(scenes), unit="scene")
    for converted in usable(shown, options.skip_bad, "scene"):
        for message in converted.messages:
            warnings.warn(message, ConcertoWarning, stacklevel=2)
        segment = converted.sample.segment
        if segment is not None:
            points += np.bincount(segment[segment >= 0], minlength=len(classes))
            labelled = True
        yield converted.sample
    if labelled:
        _check_points(split, points, classes)


def _attempt(
    read: Callable[[Scene], Converted], classes: int, scene: Scene
) -> Converted | InputError:
    """A scene that can be used, or why it cannot."""
    try:
        converted = read(scene)
        check_arrays(converted.sample.decode(), patches=1)
        segment = converted.sample.segment
        if segment is not None and segment.max() >= classes:
            raise InputError(
                f"{converted.sample.name} has class {segment.max()}; there are {classes} classes."
            )
    except InputError as error:
        return error
    # Which encoder the scenes are for is not known here; it checks them by its own voxels.
    extent = extent_of(converted.sample.coord)
    if extent < MOST_VOXELS * GRID_SIZE:
        return converted
    wide = (
        f"{converted.sample.name} spans {extent:g} m, too far for encoders with voxels of "
        f"{GRID_SIZE:g} m: it takes voxels of over {extent / MOST_VOXELS:.2g} m, as for outdoors. "
        "Are these metres, without stray points?"
    )
    return replace(converted, messages=(*converted.messages, wide))


def _check_points(split: str, points: np.ndarray, classes: Sequence[str]) -> None:
    """Warn where a class has no points; raise InputError where none has any."""
    absent = [name for name, count in zip(classes, points, strict=True) if not count]
    if len(absent) == len(classes):
        raise InputError(
            f"Not one point of the split {split} has a class. Are the labels, and the map from "
            "them to classes, those of these scenes?"
        )
    if absent:
        warnings.warn(
            f"The split {split} has no points of {len(absent)} of the {len(classes)} classes: "
            f"{', '.join(absent)}.",
            ConcertoWarning,
            stacklevel=2,
        )
