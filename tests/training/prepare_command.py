"""`python -m concerto.training.prepare`, through its command line, in this process."""

from __future__ import annotations

import re

from command import PREPARE, run_here


def prepare(*arguments: object, code: int = 0) -> str:
    """Run the command; returns what it prints, on stdout and stderr, as one line."""
    ended = run_here(*arguments, code=code, module=PREPARE, offline=False)
    return re.sub(r"\s+", " ", f"{ended.stdout} {ended.stderr}").strip()
