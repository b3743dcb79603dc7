"""`python -m concerto.training.prepare rgbd | published | rooms`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from concerto.cli import run
from concerto.training.prepare.published import published
from concerto.training.prepare.rgbd import rgbd
from concerto.training.prepare.rooms.command import rooms

COMMANDS: dict[str, Callable[..., Any]] = {"rgbd": rgbd, "published": published, "rooms": rooms}
DESCRIPTION = """Scenes to train on, as Parquet files that `datasets` reads: one row a sample.

--debug, anywhere, shows the traceback of an error."""

run(COMMANDS, prog="python -m concerto.training.prepare", description=DESCRIPTION)
