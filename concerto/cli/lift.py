"""`concerto lift`: a recording or a video → a cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from concerto.cli.lifting import LiftOptions, describe
from concerto.devices import chosen_device
from concerto.errors import InputError
from concerto.files import check_writable
from concerto.io import WRITERS, write


def lift(
    source: Annotated[Path, tyro.conf.arg(metavar="FOLDER_OR_VIDEO")],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")],
    lifting: tyro.conf.OmitArgPrefixes[LiftOptions] = LiftOptions(),
    device: str = "auto",
) -> None:
    """Fuse posed frames with depth to one cloud with colour and normals.

    A recording is a folder as 7-Scenes, TUM RGB-D, ScanNet's exporter, COLMAP, nerfstudio, Record3D
    or ARKitScenes lay it out.

    Args:
        source: A recording's folder, a video, or a folder of images.
        output: Where to write the points: cloud.ply, or another format that `concerto.write` knows.
        device: Where --vggt and --depth-model run: cpu, cuda, mps; auto takes a CUDA device where
            there is one.
    """
    if output.suffix.lower() not in WRITERS:
        raise InputError(f"{output} must end in one of {', '.join(WRITERS)}.")
    check_writable(output.parent)
    cloud = lifting.lift(source, chosen_device(device))
    write(output, cloud)
    print(f"{output}  {describe(cloud)}")
