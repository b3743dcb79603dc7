"""What people hold → `PointCloud`: arrays, tensors, dicts, other libraries' objects, paths.

What the numbers mean is read from dtype and range, and asked for where that leaves a doubt.
"""

from __future__ import annotations

import math
import os
import warnings
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.errors import ConcertoWarning, InputError
from concerto.points.foreign import Fields, fields_of
from concerto.points.point_cloud import PointCloud

WANTED = (
    "Pass an (N, 3) array of xyz, (N, 6) of xyz and rgb, (N, 9) of xyz, rgb and normals, a dict "
    "with coord and optionally color and normal, a PointCloud, an open3d, trimesh, laspy or "
    "PyTorch Geometric object, or a path; a list of these for several scenes."
)
# Floats up to 1 are 0-1 and floats from 2 on are 0-255; what lies between may be either.
ROUNDING = 1e-3
DOUBTFUL_BELOW = 2.0
# Of the ends of a range of colours: their difference is a float32 too.
LARGEST = float(np.finfo(np.float32).max) / 2
# Steps of coordinates that matter, as a share of the scene: rooms are 200 to 1,000 voxels across.
COARSE = 0.001
# Normals shorter than this stay as short.
EPSILON = 1e-12
UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def to_point_cloud(points: Any, color_range: tuple[float, float] | None = None) -> PointCloud:
    """Read one scene from whatever holds it.

    color_range: the values that mean black and white, see `checked_range`. Without it integers are
    0-255; floats are 0-1 where none exceeds 1, and 0-255 where the largest lies between 2 and 255.
    It has no say over a `PointCloud`.

    Coordinates stay as they are, also where not finite. A NaN normal becomes zero, with a warning;
    other normals get unit length. Masked values of a NumPy array count as NaN.

    Raises InputError that says what was given and what to pass.
    """
    given = checked_range(color_range)
    if isinstance(points, (str, os.PathLike)):
        from concerto.io import read

        return read(points, color_range=given)
    fields = _columns(points) if isinstance(points, (np.ndarray, Tensor)) else fields_of(points)
    if fields is None:
        raise InputError(f"Cannot read points from {type(points).__name__}. {WANTED}")
    coord, color, normal = _coordinates(fields.coord), None, None
    if fields.color is not None:
        color = _rows(fields.color, len(coord), "color").to(coord.device)
        finite = torch.isfinite(coord).all(1, keepdim=True)
        if not finite.all():
            # A point that is nowhere may well have no colour: it is left out later, or the error.
            color = torch.where(finite, color, 0)
        known = given is None or isinstance(points, PointCloud)
        color = _colors(color, fields.color_range if known else given)
    if fields.normal is not None:
        normal = _normals(_rows(fields.normal, len(coord), "normal").to(coord.device))
    return PointCloud(coord, color, normal)


def checked_range(color_range: Any) -> tuple[float, float] | None:
    """Black and white as floats, of any two numbers in a tuple, list, array or tensor; or None.

    Raises InputError where they are not finite, or white is not the larger.
    """
    if color_range is None:
        return None
    ends = color_range.tolist() if isinstance(color_range, (np.ndarray, Tensor)) else color_range
    pair = isinstance(ends, (tuple, list)) and len(ends) == 2
    if not pair or not all(
        isinstance(end, Real) and abs(cast(float, end)) <= LARGEST for end in ends
    ):
        raise InputError(
            f"color_range is {color_range!r}; pass black and white, two finite numbers, as in "
            "(0, 255)."
        )
    black, white = map(float, ends)
    # As float32, which colours become: what is equal there spans nothing.
    if not np.float32(white) > np.float32(black):
        raise InputError(f"color_range is {color_range!r}; the second must be the larger.")
    return black, white


def as_tensor(values: Any, name: str) -> Tensor:
    """As a tensor of real numbers, without a copy where possible. Raises InputError for others.

    What a masked array of NumPy masks is NaN.
    """
    if isinstance(values, Tensor):
        _check_memory(values, name)
        if values.dtype in UNSIGNED:
            values = values.long()  # torch computes with few unsigned types
    if not isinstance(values, Tensor):
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise InputError(f"{name} is no array: its rows differ in length.") from error
        if array.dtype.kind not in "fiu":
            raise InputError(f"{name} has dtype {array.dtype}; it must hold real numbers.")
        if np.ma.is_masked(values):
            # Below the mask lies whatever was there before, such as a filling value of -9999.
            unmasked = values if array.dtype.kind == "f" else values.astype(np.float64)
            array = unmasked.filled(np.nan)
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        # torch knows neither other byte orders nor negative strides nor read-only memory.
        array = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
        values = torch.from_numpy(array)
    if values.is_complex() or values.dtype == torch.bool:
        raise InputError(f"{name} has dtype {values.dtype}; it must hold real numbers.")
    return cast(Tensor, values)


def _check_memory(tensor: Tensor, name: str) -> None:
    """Raises InputError for a tensor whose numbers do not all lie in memory, row after row."""
    if tensor.layout != torch.strided:
        raise InputError(f"{name} is a sparse tensor; pass {name}.to_dense().")
    if tensor.is_meta:
        raise InputError(f"{name} is on the meta device, which holds no numbers; pass a real one.")


def _columns(points: np.ndarray | Tensor) -> Fields:
    """xyz, and rgb and normals where there are columns for them."""
    if isinstance(points, Tensor):
        _check_memory(points, "points")  # no columns can be cut out of others
    if points.ndim == 3:
        raise InputError(
            f"points has shape {tuple(points.shape)}. Scenes are not stacked: pass a list of "
            "(N, 3), (N, 6) or (N, 9) arrays, one a scene; their N may differ."
        )
    if points.ndim != 2 or points.shape[1] not in (3, 6, 9):
        hint = (
            "With a fourth column such as reflectance, which is not a colour, pass points[:, :3]. "
            if points.ndim == 2 and points.shape[1] == 4
            else ""
        )
        raise InputError(f"points has shape {tuple(points.shape)}. {hint}{WANTED}")
    width = points.shape[1]
    color = points[:, 3:6] if width >= 6 else None
    return Fields(points[:, :3], color, points[:, 6:9] if width == 9 else None)


def _coordinates(values: Any) -> Tensor:
    coord = as_tensor(values, "coord")
    if coord.ndim != 2 or coord.shape[1] != 3:
        raise InputError(f"coord has shape {tuple(coord.shape)}; it must be (N, 3).")
    if len(coord) == 0:
        raise InputError("There are no points: coord has shape (0, 3).")
    if not coord.is_floating_point():
        # Apple's GPUs have no float64.
        return (coord.cpu() if coord.device.type == "mps" else coord).double()
    if coord.dtype.itemsize < 4:
        _warn_of_steps(coord)
        return coord.float()
    return coord


def _warn_of_steps(coord: Tensor) -> None:
    known = coord.detach().float().nan_to_num(0, 0, 0)
    far, extent = float(known.abs().max()), float((known.amax(0) - known.amin(0)).max())
    step = 2 ** math.floor(math.log2(far)) * torch.finfo(coord.dtype).eps if far else 0.0
    if step > COARSE * extent:
        warnings.warn(
            f"coord is {coord.dtype}, whose steps near {far:.3g} are {step:.2g}: points that are "
            "nearer to each other merge. Pass float32.",
            ConcertoWarning,
            stacklevel=4,
        )


def _rows(values: Any, count: int, name: str) -> Tensor:
    tensor = as_tensor(values, name)
    if tensor.ndim != 2 or tensor.shape[1] != 3:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must be ({count}, 3).")
    if len(tensor) != count:
        raise InputError(f"coord has {count} points, but {name} has {len(tensor)}.")
    return tensor


def _colors(color: Tensor, color_range: tuple[float, float] | None) -> Tensor:
    """To float32 in 0-1."""
    finite = torch.isfinite(color).all(1)
    if not finite.all():
        bad = int((~finite).sum())
        first = int((~finite).nonzero()[0])
        raise InputError(
            f"color is NaN or infinite at {bad} points, first at index {first}. "
            "Drop these points, or give them a colour such as 0."
        )
    low, high = _color_range(color.detach()) if color_range is None else color_range
    scaled = (color.float() - low).div_(high - low)
    if color_range is not None and (scaled.min() < -ROUNDING or scaled.max() > 1 + ROUNDING):
        raise InputError(
            f"color lies in {_span(color)}, outside the color_range of ({low:g}, {high:g})."
        )
    return scaled


def _color_range(color: Tensor) -> tuple[float, float]:
    low, high = float(color.min()), float(color.max())
    if low < 0:
        raise InputError(
            f"color lies in {_span(color)}, and no colour is negative. If these are normals, pass "
            "dict(coord=..., normal=...); if they are colours, say what black and white are: "
            f"color_range=({low:g}, {max(high, 1):g})."
        )
    if not color.is_floating_point() and high <= 255:
        return 0.0, 255.0
    if color.is_floating_point() and high <= 1 + ROUNDING:
        return 0.0, 1.0
    if color.is_floating_point() and DOUBTFUL_BELOW <= high <= 255:
        return 0.0, 255.0
    likely = 65535 if high > 255 else 255
    raise InputError(
        f"color lies in {_span(color)}, which is neither 0-1 nor clearly 0-255. "
        f"Say which values mean black and white: color_range=(0, {likely})."
    )


def _span(color: Tensor) -> str:
    return f"[{float(color.min()):g}, {float(color.max()):g}] ({color.dtype})"


def _normals(normal: Tensor) -> Tensor:
    """To float32 of unit length; what is not finite becomes zero."""
    if not normal.is_floating_point():
        # Always finite, and a copy of our own: in place, at half the memory.
        normal = normal.float()
        return normal.div_(torch.linalg.vector_norm(normal, dim=1, keepdim=True).clamp_min(EPSILON))
    normal = normal.float()
    unknown = ~torch.isfinite(normal).all(1)
    if unknown.any():
        warnings.warn(
            f"{int(unknown.sum())} of {len(normal)} normals are NaN or infinite; "
            "they count as unknown (zero).",
            ConcertoWarning,
            stacklevel=2,
        )
        normal = normal.masked_fill(unknown[:, None], 0)
    return F.normalize(normal, dim=1, eps=EPSILON)
