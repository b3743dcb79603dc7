"""`python -m concerto.training.prepare rgbd | published | rooms | labelled | scannet | …`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from concerto.command_line import run_one_of
from concerto.training.prepare.indoor.s3dis import s3dis
from concerto.training.prepare.indoor.scannet import scannet, scannet200
from concerto.training.prepare.indoor.scannetpp import scannetpp
from concerto.training.prepare.indoor.structured3d import structured3d
from concerto.training.prepare.labelled import labelled
from concerto.training.prepare.published import published
from concerto.training.prepare.rgbd import rgbd
from concerto.training.prepare.rooms.command import rooms

COMMANDS: dict[str, Callable[..., Any]] = {
    "rgbd": rgbd,
    "published": published,
    "rooms": rooms,
    "labelled": labelled,
    "scannet": scannet,
    "scannet200": scannet200,
    "scannetpp": scannetpp,
    "s3dis": s3dis,
    "structured3d": structured3d,
}
DESCRIPTION = """Scenes to train on, as Parquet files that `datasets` reads: one row a sample.

--debug, anywhere, shows the traceback of an error."""

run_one_of(COMMANDS, prog="python -m concerto.training.prepare", description=DESCRIPTION)
