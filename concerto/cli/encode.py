"""`concerto encode`: scans → files of features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from concerto.cli.options import ModelOptions
from concerto.errors import InputError
from concerto.files import replacing
from concerto.io import read


def encode(
    scans: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SCAN...")],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")],
    model: tyro.conf.OmitArgPrefixes[ModelOptions] = ModelOptions(),
) -> None:
    """Write the features of each scan to DIR/<scan>.npz.

    The archive holds coord (N, 3), as read, and feat (N, C) float32, row for row.

    Args:
        scans: PLY or NPZ files.
        output: Folder to write to; made if missing.
    """
    targets = _targets(scans, output)
    encoder = model.load()
    for scan, target in targets.items():
        cloud = read(scan)
        features = model.encode(encoder, cloud)
        with replacing(target) as path:
            np.savez(path, coord=cloud.coord.numpy(), feat=features.numpy())
        print(f"{target}  {features.shape[0]} x {features.shape[1]}")


def _targets(scans: tuple[Path, ...], output: Path) -> dict[Path, Path]:
    """The file for each scan. Raises InputError where two would write the same."""
    if not scans:
        raise InputError("No scans were given: concerto encode SCAN... -o DIR.")
    targets = {scan: output / f"{scan.stem}.npz" for scan in scans}
    for target in targets.values():
        sources = [str(scan) for scan, other in targets.items() if other == target]
        if len(sources) > 1:
            raise InputError(f"{' and '.join(sources)} would both be written to {target}.")
        if target.resolve() in {scan.resolve() for scan in scans}:
            raise InputError(f"{target} is a scan itself; choose another folder with -o.")
    return targets
