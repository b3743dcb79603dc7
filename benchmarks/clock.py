"""Where the seconds of a run go, by part."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any


class Clock:
    """Seconds of each part of a run, without those of the parts inside it.

    wait: called before the time is read, such as for a device to finish what it was given.
    """

    def __init__(self, wait: Callable[[], object] = lambda: None) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.inside: list[str] = []
        self.since = 0.0
        self.wait = wait

    def switch(self) -> None:
        """Book the time since the last switch to the innermost part."""
        self.wait()
        now = time.perf_counter()
        if self.inside:
            self.seconds[self.inside[-1]] += now - self.since
        self.since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, booking its time to `part`."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.switch()
            self.inside.append(part)
            result = function(*args, **kwargs)
            self.switch()
            self.inside.pop()
            return result

        return run
