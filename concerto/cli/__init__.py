"""The command line: `concerto encode | pca | models | info | convert`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

from concerto.cli.convert import convert
from concerto.cli.encode import encode
from concerto.cli.info import info
from concerto.cli.models import models
from concerto.cli.pca import pca
from concerto.errors import ConcertoError

COMMANDS: dict[str, Callable[..., Any]] = {
    "encode": encode,
    "pca": pca,
    "models": models,
    "info": info,
    "convert": convert,
}


def main() -> None:
    """Run one command. Exits with 1 and one line on stderr where it cannot be done."""
    import tyro

    warnings.showwarning = _print_warning  # type: ignore[assignment]
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="concerto", description="Features for any point cloud."
        )
    except ConcertoError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _print_warning(message: Warning | str, *_: object) -> None:
    print(f"warning: {message}", file=sys.stderr)
