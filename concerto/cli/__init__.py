"""The command line: `concerto encode | pca | lift | video | …`, a function each."""

from __future__ import annotations

import io
import sys
import warnings
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
from concerto.cli.wording import in_flags
from concerto.errors import ConcertoError

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
    run(COMMANDS, prog="concerto", description=DESCRIPTION)


def run(commands: dict[str, Callable[..., Any]], prog: str, description: str) -> None:
    """Run the one of several commands that the arguments ask for, as `main` does.

    prog: what the user typed. description: what `--help` says above the commands.
    """
    import tyro

    warnings.showwarning = _print_warning  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):
        # Where a terminal or pipe lacks letters of a file's name, these are spelt out.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands, prog=prog, description=description, args=arguments
        )
    except ConcertoError as error:
        if "--debug" in sys.argv:
            raise
        sys.exit(f"error: {in_flags(str(error))}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _print_warning(message: Warning | str, *_: object) -> None:
    print(f"warning: {in_flags(str(message))}", file=sys.stderr)
