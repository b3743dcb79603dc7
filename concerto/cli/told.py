"""Warnings told apart by who raised them, where several threads work at once.

`warnings.catch_warnings` records for all threads alike. Here its place is taken once, for all of
them, and what shows a warning asks in whose thread it is.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from concerto.errors import ConcertoWarning

_thread = threading.local()


@contextmanager
def telling_apart() -> Iterator[None]:
    """Let `into` work inside, in any thread; what is raised outside of it is shown as before.

    To be entered once, before the threads start.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", ConcertoWarning)
        shown_before = warnings.showwarning

        def show(message: Warning | str, *where: Any, **more: Any) -> None:
            messages: list[str] | None = getattr(_thread, "messages", None)
            if messages is None:
                shown_before(message, *where, **more)
            else:
                messages.append(str(message))

        warnings.showwarning = show
        yield


@contextmanager
def into(messages: list[str]) -> Iterator[None]:
    """Add the warnings that this thread raises inside to `messages`, and show none of them."""
    _thread.messages = messages
    try:
        yield
    finally:
        del _thread.messages
