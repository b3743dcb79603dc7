"""Work for several processes, its results in the order of what was asked for; and what fails."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from concerto.errors import ConcertoWarning, InputError, TrainingError

Asked = TypeVar("Asked")
Made = TypeVar("Made")


def in_order(work: Callable[[Asked], Made], asked: Sequence[Asked], workers: int) -> Iterator[Made]:
    """`work` of each, in order; few results are held at a time.

    work: must be picklable for more than one worker. workers: processes; with one, or one thing to
    do, this process does it.

    Raises TrainingError where a process was killed.
    """
    if workers <= 1 or len(asked) == 1:
        yield from map(work, asked)
        return
    try:
        with ProcessPoolExecutor(workers) as pool:
            waiting: deque[Future[Made]] = deque()
            for one in asked:
                if len(waiting) > workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(work, one))
            yield from (future.result() for future in waiting)
    except BrokenProcessPool as error:
        raise TrainingError(
            f"One of {workers} processes was killed; most often memory ran out. Pass fewer "
            "--workers."
        ) from error


def usable(attempts: Iterable[Made | InputError], skip_bad: bool, what: str) -> Iterator[Made]:
    """What was made, in order; of what could not be made, with `skip_bad` a warning each.

    what: is made, as "scene". Raises InputError without `skip_bad`, which it names.
    """
    for attempt in attempts:
        if not isinstance(attempt, InputError):
            yield attempt
        elif skip_bad:
            warnings.warn(f"A {what} is left out: {attempt}", ConcertoWarning, stacklevel=2)
        else:
            raise InputError(f"{attempt} skip_bad=True leaves such {what}s out.") from attempt
