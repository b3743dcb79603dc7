"""What every trainer's command line does around its run."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import NoReturn, TypeVar

from concerto import command_line
from concerto.errors import ConcertoError
from concerto.training.run.launch import end_with_launcher, start_processes
from concerto.training.run.loop import TrainResult

Config = TypeVar("Config")


def run_trainer(
    module: str,
    parse: Callable[[Sequence[str]], Config],
    train: Callable[[Config], TrainResult],
) -> NoReturn:
    """Parse the command line and train, in as many processes as were asked for; then exit.

    module: what `python -m` is given. Exits with 1 and one line on stderr where it cannot be done;
    `--debug` anywhere shows the traceback instead.
    """

    def work(arguments: Sequence[str]) -> TrainResult:
        end_with_launcher()
        with _own_errors():
            config = parse(arguments)
        start_processes(module)
        return train(config)

    try:
        result = command_line.run(work)
    except RuntimeError as error:
        # A process that prepares samples was killed; torch tells in the middle of anything.
        if command_line.DEBUG in sys.argv or "DataLoader worker" not in str(error):
            raise
        sys.exit(
            f"error: {error} Most often memory ran out: pass fewer --workers, and --resume to go "
            "on from the last checkpoint."
        )
    sys.exit(result.exit_code)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Let an error of this library out as it was raised.

    What a dataclass raises, tyro catches, prints in a frame under a name of its insides, and exits.
    """
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            yield
    except SystemExit as end:
        cause: BaseException | None = end
        while cause is not None and not isinstance(cause, ConcertoError):
            cause = cause.__context__
        if cause is not None:
            raise cause from None
        sys.stderr.write(told.getvalue())
        raise
