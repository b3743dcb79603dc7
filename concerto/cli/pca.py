"""`concerto pca`: a scan → a picture of its features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from concerto.cli.options import ModelOptions
from concerto.errors import InputError
from concerto.io import read, write
from concerto.points.point_cloud import PointCloud
from concerto.visualize.pca import pca_colors

SUFFIXES = (".ply", ".png", ".html")


def pca(
    scan: Annotated[Path, tyro.conf.arg(metavar="SCAN")],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")],
    model: tyro.conf.OmitArgPrefixes[ModelOptions] = ModelOptions(),
) -> None:
    """Colour a scan by the three main directions in which its features vary.

    Args:
        scan: A PLY or NPZ file.
        output: out.png for a picture, out.html for a page that rotates in any browser, out.ply
            for the coloured points.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"{output} must end in one of {', '.join(SUFFIXES)}.")
    cloud = read(scan)
    features = model.encode(model.load(), cloud)
    _draw(output, cloud, PointCloud(cloud.coord, pca_colors(features), cloud.normal), scan.name)
    print(output)


def _draw(output: Path, cloud: PointCloud, colored: PointCloud, title: str) -> None:
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
