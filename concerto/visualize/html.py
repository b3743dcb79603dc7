"""A cloud as one HTML file: a viewer to turn, pan and zoom it in any browser, points inside.

The file asks the network for nothing. Positions are 16 bits an axis, colours 8 bits a channel.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from importlib import resources

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto.errors import InputError
from concerto.files import write_text
from concerto.points.point_cloud import PointCloud
from concerto.visualize.camera import Viewpoint, best_view
from concerto.visualize.drawable import MOST_POINTS, clipped, colors, coordinates, drawn_rows
from concerto.visualize.room import Room
from concerto.visualize.strays import core_box, within

# Steps of a 16-bit position.
STEPS = 2**16 - 1
# Points farther out than this many widths of the scan would cost the others their precision.
REACH = 4.0
# The frame that the first view is chosen for; a window of another shape shows more beside it.
ASPECT = 4 / 3
# The azimuths to cut a room open for, from that of the first view on.
SIDES = np.arange(8) * np.pi / 4
# The scan's longest side in cells, to tell its surface by.
CELLS = 64


def write_html(
    path: str | os.PathLike[str], cloud: PointCloud, *, title: str, other: Tensor | None = None
) -> None:
    """Write a viewer of the cloud; needs WebGL 2, and says so where it is missing.

    title: shown above the cloud, as plain text. other: (N, 3) float in 0-1, colours to switch to
    and back, for instance the scan's own. Points without a colour get a shade of height. Clouds of
    more than 2 million points are thinned evenly, and the page says so.

    Raises InputError where there is nothing to show, or `other` has another length than the cloud.
    """
    if other is not None and tuple(other.shape) != (len(cloud), 3):
        raise InputError(
            f"other has shape {tuple(other.shape)}; it must be ({len(cloud)}, 3), a colour a point."
        )
    rows = drawn_rows(cloud)
    coord = coordinates(cloud, rows)
    low, high = core_box(coord, reach=REACH)
    kept = within(coord, low, high)
    coord, rows = coord[kept], rows[torch.from_numpy(kept)]
    camera, room = best_view(coord, ASPECT)
    fields = {
        # A file's name need not be text.
        "title": html.escape(title.encode("utf-8", "replace").decode()),
        "note": html.escape(_note(len(rows), len(cloud), strays=int((~kept).sum()))),
        "scene": json.dumps(_scene(coord, low, high, camera)),
        "positions": _base64(_quantised(coord, low, high)),
        "colors": _base64(_bytes(colors(cloud, rows))),
        "others": "" if other is None else _base64(_bytes(clipped(other, rows))),
        "hiding": "" if room is None else _base64(_hiding(coord, room, camera.azimuth + SIDES)),
    }
    template = resources.files("concerto.visualize").joinpath("viewer.html").read_text("utf-8")
    # In one pass, so that a title with a placeholder in it stays a title.
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], template)
    write_text(path, page)


def _scene(
    coord: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    camera: Viewpoint,
) -> dict[str, object]:
    """What the page must know beside the points; lengths in metres, angles in radians.

    The page works from the corner `low` on, so that large coordinates keep their digits there.
    """
    back = camera.axes[2]
    distance = float(np.median((camera.eye - coord) @ back))
    return {
        "low": low.tolist(),
        "span": (high - low).tolist(),
        "target": (camera.eye - distance * back - low).tolist(),
        "distance": distance,
        "azimuth": camera.azimuth,
        "elevation": camera.elevation,
        "tangents": camera.tangents.tolist(),
        "sides": (camera.azimuth + SIDES).tolist(),
        "gap": _gap(coord - low),
    }


def _gap(coord: NDArray[np.float64]) -> float:
    """How far apart points (N, 3), from 0 on, are on the scan's surface, metres: the median.

    By how many points share a cell, as through most cells goes one sheet of surface.
    """
    cell = (float(coord.max()) or 1.0) / CELLS
    index = (coord / cell).astype(np.int64) @ np.array([1, CELLS + 1, (CELLS + 1) ** 2])
    _, which, counts = np.unique(index, return_inverse=True, return_counts=True)
    return cell / float(np.sqrt(np.median(counts[which])))


def _quantised(
    coord: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.uint16]:
    """(M, 3) uint16: where coord (M, 3) is between the corners `low`, 0, and `high`, 65535."""
    span = np.where(high > low, high - low, 1.0)
    return np.rint((coord - low) / span * STEPS).astype("<u2")


def _hiding(
    coord: NDArray[np.float64], room: Room, sides: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """(M,) uint8: bit k is set where a point of coord (M, 3) hides the room from sides[k]."""
    hidden = np.stack([~room.open_to(coord, float(side)) for side in sides], axis=1)
    return np.packbits(hidden, axis=1, bitorder="little")[:, 0]


def _bytes(color: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(color * 255).astype(np.uint8)


def _base64(array: NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _note(shown: int, total: int, strays: int) -> str:
    count = f"{total:,} points" if shown == total else f"{shown:,} of {total:,} points"
    thinned = ", thinned evenly" if total > MOST_POINTS else ""
    return count + thinned + (", without strays far away" if strays else "")
