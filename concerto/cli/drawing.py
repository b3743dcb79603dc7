"""Writing a coloured scan as whatever the output's suffix asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from concerto.errors import InputError
from concerto.files import check_kept, check_writable
from concerto.io import write
from concerto.points.point_cloud import PointCloud

SUFFIXES = (".ply", ".png", ".html")


def check_drawable(output: Path, scan: Path) -> None:
    """Raise InputError where nothing can be drawn there, before any work is done.

    scan: what is to be drawn, which is not to be lost.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"{output} must end in one of {', '.join(SUFFIXES)}.")
    check_writable(output.parent)
    check_kept(scan, output)


def paint(cloud: PointCloud, values: Tensor, colors: Callable[[Tensor], Tensor]) -> Tensor:
    """Colours (N, 3) of values (N, …), found among the points that are somewhere.

    Points left out have zeros for features, which would otherwise take part in every contrast.
    """
    finite = cloud.coord.isfinite().all(1)
    if finite.all():
        return colors(values)
    color = torch.zeros(len(cloud), 3)
    color[finite] = colors(values[finite])
    return color


def draw(output: Path, cloud: PointCloud, color: Tensor, title: str) -> None:
    """Write the scan in `color` (N, 3), 0-1; a page also offers its own colours."""
    colored = PointCloud(cloud.coord, color, cloud.normal)
    if output.suffix.lower() == ".ply":
        write(output, colored)
        return
    # A picture has no place for points that are nowhere.
    finite = cloud.coord.isfinite().all(1)
    cloud, colored = cloud[finite], colored[finite]
    if output.suffix.lower() == ".png":
        from concerto.visualize.png import write_png

        write_png(output, colored)
    else:
        from concerto.visualize.html import write_html

        write_html(output, colored, title=title, other=cloud.color)
