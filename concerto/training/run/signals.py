"""SIGTERM and Ctrl-C ask a run to end; it ends where it can be resumed."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

ASKED_BY = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While entered, SIGTERM and the first SIGINT are noted; a second SIGINT interrupts as ever.

    Outside the main thread, where no signal arrives, it notes none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in ASKED_BY}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])


def leave_to_parent(worker: int) -> None:
    """For `DataLoader(worker_init_fn=…)`: workers outlive signals that are sent to all at once.

    The trainer then ends them when it has saved. SIGTERM is obeyed when it comes again.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _obey_next())


def _obey_next() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
