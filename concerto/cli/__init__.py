"""The command line: `concerto encode | pca | lift | video | …`, a function each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from concerto.cli.ask import ask
from concerto.cli.convert import convert
from concerto.cli.download import download
from concerto.cli.encode import encode
from concerto.cli.info import info
from concerto.cli.lift import lift
from concerto.cli.models import models
from concerto.cli.pca import pca
from concerto.cli.segment import segment
from concerto.cli.similar import similar
from concerto.cli.video import video
from concerto.command_line import run_one_of

COMMANDS: dict[str, Callable[..., Any]] = {
    "encode": encode,
    "pca": pca,
    "segment": segment,
    "ask": ask,
    "similar": similar,
    "lift": lift,
    "video": video,
    "models": models,
    "info": info,
    "convert": convert,
    "download": download,
}
DESCRIPTION = """Features for any point cloud.

--debug, anywhere, shows the traceback of an error.
--tyro-write-completion bash|zsh|tcsh FILE writes completions for a shell."""


def main() -> None:
    """Run one command. Exits with 1 and one line on stderr where it cannot be done."""
    run_one_of(COMMANDS, prog="concerto", description=DESCRIPTION)
