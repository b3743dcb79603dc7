"""Columns by name: what PLY, PCD and text headers call coordinates, colours and normals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from concerto.errors import InputError
from concerto.points.point_cloud import PointCloud

# coord (N, 3), and where the file has them color (N, 3) and normal (N, 3), in the file's dtypes.
Fields = dict[str, np.ndarray]

NAMES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "coord": (("x", "y", "z"),),
    "color": (
        ("red", "green", "blue"),
        ("r", "g", "b"),
        ("diffuse_red", "diffuse_green", "diffuse_blue"),  # PMVS
    ),
    "normal": (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z")),
}


def find_columns(names: Sequence[str]) -> dict[str, list[int]]:
    """Where coordinates, colours and normals stand among `names`, which may be in any case.

    Raises InputError where there are no x, y, z.
    """
    found = {field: find_triple(names, field) for field in NAMES}
    if found["coord"] is None:
        given = ", ".join(names[:20]) or "nothing"
        raise InputError(f"It has no x, y, z; its points have {given}.")
    return {field: places for field, places in found.items() if places is not None}


def find_triple(names: Sequence[str], field: str) -> list[int] | None:
    """Where the three columns of coord, color or normal stand, or None where one is absent."""
    lower = [name.lower() for name in names]
    for triple in NAMES[field]:
        if set(triple) <= set(lower):
            return [lower.index(name) for name in triple]
    return None


def find_scalar(names: Sequence[str], wanted: str) -> int:
    """Where the column `wanted` stands, in any case; CloudCompare's "scalar_" may stand before it.

    Raises InputError, with the names there are, where there is none.
    """
    lower = [name.lower() for name in names]
    for name in (wanted.lower(), f"scalar_{wanted.lower()}"):
        if name in lower:
            return lower.index(name)
    given = ", ".join(names[:50]) or "nothing"
    raise InputError(f"It has no field {wanted!r}; its points have {given}.")


def take_columns(table: np.ndarray, scalars: Sequence[str] = ()) -> Fields:
    """The fields of a structured array (N,), and the columns (N,) that `scalars` names."""
    names = table.dtype.names or ()
    fields = {
        field: np.stack([table[names[i]] for i in places], axis=1)
        for field, places in find_columns(names).items()
    }
    return fields | {name: table[names[find_scalar(names, name)]] for name in scalars}


def to_columns(
    cloud: PointCloud,
    features: np.ndarray | None,
    classes: np.ndarray | None,
    names: Mapping[str, tuple[str, str, str]],
) -> dict[str, np.ndarray]:
    """What goes into PLY or PCD, one array (N,) a column, without the colours.

    names: the names of the columns for coord and normal.
    """
    columns: dict[str, np.ndarray] = {}
    for field, triple in names.items():
        values = getattr(cloud, field)
        if values is not None:
            columns |= dict(zip(triple, values.detach().cpu().numpy().T, strict=True))
    if classes is not None:
        low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
        if len(classes) and (classes.min() < low or classes.max() > high):
            raise InputError(f"A class lies outside {low} to {high}, which 32 bits hold.")
        columns["class"] = classes.astype(np.int32)
    if features is not None:
        dtype = np.float64 if features.dtype.itemsize == 8 else np.float32
        columns |= {f"feature_{i}": c for i, c in enumerate(features.astype(dtype).T)}
    return columns


def color_bytes(cloud: PointCloud) -> np.ndarray | None:
    """The colours (N, 3) in 8 bits."""
    if cloud.color is None:
        return None
    return (cloud.color.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()
