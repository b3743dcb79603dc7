"""`python -m concerto.training.prepare`, through its command line, in this process."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import sys
import warnings

import pytest

from command import PREPARE
from concerto.errors import ConcertoWarning


def prepare(*arguments: object, code: int = 0) -> str:
    """Run the command; returns what it prints, on stdout and stderr, as one line."""
    said, ended = io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("always", ConcertoWarning)
        patch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
        try:
            runpy.run_module(PREPARE, run_name="__main__")
        except SystemExit as end:
            ended = int(end.code is not None and end.code != 0)
            said.write(f"{end.code}")
    assert ended == code, said.getvalue()
    return re.sub(r"\s+", " ", said.getvalue())
