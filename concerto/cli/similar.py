"""`concerto similar`: where else in a scan it looks like at one point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch.nn import functional as F

from concerto.cli.drawing import check_drawable, draw, paint
from concerto.cli.options import ModelOptions
from concerto.errors import InputError
from concerto.visualize.heat import heat_colors


def similar(
    scan: Annotated[Path, tyro.conf.arg(metavar="SCAN")],
    /,
    point: tuple[float, float, float],
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")],
    model: tyro.conf.OmitArgPrefixes[ModelOptions] = ModelOptions(),
) -> None:
    """Colour a scan by how alike its features are to those at a point, bright where most.

    Args:
        scan: A file of points.
        point: X Y Z in the scan's own coordinates; the scan's nearest point is taken.
        output: out.png, out.html or out.ply.
    """
    check_drawable(output, scan)
    cloud = model.read(scan)
    wanted = torch.tensor(point, dtype=torch.float64)
    if not wanted.isfinite().all():
        raise InputError(f"--point is {point}; it must be three finite numbers.")
    distance = (cloud.coord.double() - wanted).norm(dim=1).nan_to_num(torch.inf)
    nearest = int(distance.argmin())
    features = F.normalize(model.encode(model.load(), cloud), dim=1)
    cosine = features @ features[nearest]
    draw(output, cloud, paint(cloud, cosine, heat_colors), scan.name)
    at = " ".join(f"{value:.3f}" for value in cloud.coord[nearest].tolist())
    print(f"{output}  around {at}, {float(distance[nearest]):.3f} from the point given")
