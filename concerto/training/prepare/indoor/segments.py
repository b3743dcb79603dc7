"""Annotations of ScanNet's kind: a mesh in small segments, and things as groups of these."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io.pictures import read_bytes


@dataclass(frozen=True)
class Thing:
    """An annotated thing. segments: (k,) rows of `Annotation.sizes`."""

    label: str
    number: int
    segments: NDArray[np.int64]


@dataclass(frozen=True)
class Annotation:
    """What was annotated of a mesh.

    segment_of: (n,) the segment of each vertex. sizes: (s,) the vertices of each segment.
    """

    segment_of: NDArray[np.int64]
    sizes: NDArray[np.int64]
    things: tuple[Thing, ...]


def read_annotation(segments: Path, things: Path, points: int) -> Annotation:
    """Read both files. points: the vertices of the mesh.

    Raises InputError where a file is missing, is not of this format, or of another mesh.
    """
    indices = _list(segments, "segIndices")
    if len(indices) != points:
        raise InputError(
            f"{segments} is of {len(indices):,} vertices, and the mesh has {points:,}: they are "
            "not of one version."
        )
    try:
        numbers, segment_of, sizes = np.unique(
            np.array(indices, np.int64), return_inverse=True, return_counts=True
        )
        groups = tuple(_thing(group, numbers) for group in _list(things, "segGroups"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{segments} and {things.name} are no annotation: {error!r}.") from error
    return Annotation(segment_of.reshape(-1), sizes, groups)


def _thing(group: dict[str, Any], numbers: NDArray[np.int64]) -> Thing:
    """numbers: of all segments of the mesh, sorted; others are passed over."""
    wanted = np.array(group["segments"], np.int64)
    return Thing(
        str(group["label"]), int(group["objectId"]), np.flatnonzero(np.isin(numbers, wanted))
    )


def _list(file: Path, key: str) -> list[Any]:
    try:
        content = json.loads(read_bytes(file))
    except ValueError as error:
        raise InputError(f"{file} is no JSON: {error}.") from error
    values = content.get(key) if isinstance(content, dict) else None
    if not isinstance(values, list):
        raise InputError(f"{file} has no list under {key!r}.")
    return values
