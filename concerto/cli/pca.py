"""`concerto pca`: a scan → a picture of its features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from concerto.cli.drawing import check_drawable, draw, paint
from concerto.cli.options import ModelOptions
from concerto.visualize.pca import pca_colors


def pca(
    scan: Annotated[Path, tyro.conf.arg(metavar="SCAN")],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")],
    model: tyro.conf.OmitArgPrefixes[ModelOptions] = ModelOptions(),
) -> None:
    """Colour a scan by the three main directions in which its features vary.

    Args:
        scan: A file of points.
        output: out.png for a picture, out.html for a page that rotates in any browser, out.ply
            for the coloured points.
    """
    check_drawable(output, scan)
    cloud = model.read(scan)
    features = model.encode(model.load(), cloud)
    draw(output, cloud, paint(cloud, features, pca_colors), scan.name)
    print(output)
