"""What surrounds the work of every command: errors, warnings and interruptions in one line each."""

from __future__ import annotations

import io
import os
import re
import select
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from concerto.errors import ConcertoError

Result = TypeVar("Result")
DEBUG = "--debug"


def run(
    work: Callable[[Sequence[str]], Result],
    *,
    wording: Callable[[str], str] = str,
    interrupted: str = "interrupted",
) -> Result:
    """What `work` makes of the command line's arguments.

    Exits with 1 and one line on stderr where it cannot be done, or somebody interrupts it; with 1
    and no word where nobody reads stdout any longer. `--debug` anywhere shows the traceback of an
    error instead. wording: the library's messages → the command's.
    interrupted: what is said then.
    """

    def show(message: Warning | str, *_: object) -> None:
        print(f"warning: {wording(str(message))}", file=sys.stderr)

    warnings.showwarning = show  # type: ignore[assignment]
    # Python has none where the shell has closed them, as >&- does.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Where a terminal or pipe lacks letters of a file's name, these are spelt out.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            result = work([argument for argument in sys.argv[1:] if argument != DEBUG])
        except SystemExit:  # as --help ends
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return result
    except ConcertoError as error:
        if DEBUG in sys.argv:
            raise
        sys.exit(f"error: {wording(str(error))}")
    except KeyboardInterrupt:
        sys.exit(interrupted)
    except BrokenPipeError:
        if DEBUG in sys.argv or not _unread():
            raise
        # Who reads the output has enough, as `head` has. What is left of it goes nowhere: Python
        # would try once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def run_one_of(commands: dict[str, Callable[..., Any]], prog: str, description: str) -> None:
    """Run the one of several commands that the arguments ask for, as `run` does.

    prog: what the user typed. description: what `--help` says above the commands.
    """
    import tyro

    run(
        lambda arguments: tyro.extras.subcommand_cli_from_dict(
            commands, prog=prog, description=description, args=arguments
        ),
        wording=in_flags,
    )


def _unread() -> bool:
    """Whether nobody reads stdout any longer."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    # A pipe without a buffer has nothing left to flush. Windows does not tell of those.
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return bool(poll.poll(0))


def in_flags(message: str) -> str:
    """Advice that names arguments of Python, such as scale=2, with the flags that set them."""
    message = re.sub(
        r"(color_range|intrinsics)=\(([^)]+)\)",
        lambda match: f"--{match[1].replace('_', '-')} {match[2].replace(',', '')}",
        message,
    )
    message = message.replace("drop_invalid=True", "--drop-invalid")
    message = message.replace("skip_bad=True", "--skip-bad")
    message = message.replace("pass encoder=", "pass --encoder to segment")
    message = re.sub(r"encoder=('[^']+')", r"--encoder \1", message)
    message = message.replace("geometry=VGGT()", "--vggt")
    message = re.sub(r'geometry=DepthModel\("([^"]+)"\)', r"--depth-model \1", message)
    message = re.sub(r"(larger|smaller) grid_size\b", r"\1 --grid-size", message)
    # Only a value is set off by a space.
    return re.sub(
        r"\b(scale|grid_size|columns|filename|revision|depth_scale|max_depth|align|label_map|labels"
        r"|split_files)=(?=([^\s.,;)]?))",
        lambda match: f"--{match[1].replace('_', '-')}{' ' if match[2] else ''}",
        message,
    )
