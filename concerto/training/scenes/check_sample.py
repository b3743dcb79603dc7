"""What a sample must be for views to be made of it: said by name, before any work on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from concerto.errors import InputError
from concerto.grids import MAX_DEPTH
from concerto.training.scenes.samples import Sample

# Turned, scaled and distorted, a view is less than twice as long as the sample.
MOST_VOXELS = 2 ** (MAX_DEPTH - 1)


def check_sample(sample: Sample, grid_size: float, patches: int) -> None:
    """Raise InputError, naming the sample and its trouble, where views cannot be made of it.

    That is: no points; coordinates or normals that are not finite, or so far apart that voxels of
    `grid_size` metres are too many; arrays of other shapes and types than `Sample` says; rows of
    `seen` outside of their image or of the points; an image with less than a pixel for each of
    the `patches` along a side; labels that are not one integer >= -1 a point.
    """
    check_arrays(sample, patches)
    extent = extent_of(sample.coord)
    if extent >= MOST_VOXELS * grid_size:
        raise _unusable(
            sample,
            f"spans {extent:g} m; at most {MOST_VOXELS * grid_size:g} m fit voxels of "
            f"{grid_size:g} m. Are these metres, without stray points?",
        )


def check_arrays(sample: Sample, patches: int) -> None:
    """The same, whatever the voxels: how far the points spread is not looked at."""
    points = len(sample.coord)
    if not points:
        raise _unusable(sample, "has no points")
    for name in ("coord", "color", "normal"):
        shape = getattr(sample, name).shape
        if shape != (points, 3):
            raise _unusable(sample, f"has {name} of shape {shape}; it must be ({points}, 3)")
    if sample.color.dtype != np.uint8:
        raise _unusable(sample, f"has {sample.color.dtype} colours; they must be uint8, 0-255")
    for name in ("coord", "normal"):
        finite = np.isfinite(getattr(sample, name))
        if not finite.all():
            finite = finite.all(1)
            bad, first = points - np.count_nonzero(finite), int(np.argmin(finite))
            raise _unusable(
                sample,
                f"has NaN or infinite {name} at {bad} of {points} points, first at index {first}",
            )
    if len(sample.images) != len(sample.seen):
        raise _unusable(
            sample,
            f"has {len(sample.images)} images and {len(sample.seen)} lists of the points they see",
        )
    for number in range(len(sample.images)):
        _check_image(sample, number, patches)
    for name in ("segment", "instance"):
        labels = getattr(sample, name)
        if labels is not None:
            _check_labels(sample, name, labels)


def extent_of(coord: np.ndarray) -> float:
    """The longest side of the box around points (n, 3), n > 0."""
    return max(float(axis.max()) - float(axis.min()) for axis in coord.T)


@contextmanager
def naming(sample: Sample) -> Iterator[None]:
    """An InputError from within says which sample it is of."""
    try:
        yield
    except InputError as error:
        raise InputError(f"Sample {sample.name!r}: {error}") from error


def _check_labels(sample: Sample, name: str, labels: np.ndarray) -> None:
    points = len(sample.coord)
    if labels.shape != (points,) or labels.dtype.kind not in "iu":
        raise _unusable(
            sample,
            f"has {name} of shape {labels.shape}, {labels.dtype}; it must be ({points},), integers",
        )
    if labels.min() < -1:
        raise _unusable(sample, f"has {name} {labels.min()}; labels are >= 0, and -1 for none")


def _check_image(sample: Sample, number: int, patches: int) -> None:
    image, seen = sample.images[number], sample.seen[number]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise _unusable(
            sample,
            f"has image {number} of shape {image.shape}, {image.dtype}; it must be "
            "(H, W, 3), uint8",
        )
    height, width = image.shape[:2]
    if min(height, width) < patches:
        raise _unusable(
            sample,
            f"has image {number} of {width} x {height} pixels; at least one pixel a patch is "
            f"needed, {patches} x {patches}",
        )
    if seen.ndim != 2 or seen.shape[1] != 3 or seen.dtype.kind not in "iu":
        raise _unusable(
            sample,
            f"has seen[{number}] of shape {seen.shape}, {seen.dtype}; it must be (m, 3), integers",
        )
    wrong = np.zeros(len(seen), bool)
    for column, end in zip(seen.T, (width, height, len(sample.coord)), strict=True):
        wrong |= (column < 0) | (column >= end)
    if wrong.any():
        first = int(wrong.argmax())
        raise _unusable(
            sample,
            f"has {np.count_nonzero(wrong)} rows of seen[{number}] outside the image of "
            f"{width} x {height} pixels or the {len(sample.coord)} points, first row {first}: "
            f"{seen[first].tolist()}",
        )


def _unusable(sample: Sample, trouble: str) -> InputError:
    return InputError(f"Sample {sample.name!r} {trouble}.")
