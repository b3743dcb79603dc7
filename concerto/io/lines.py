"""Text files line by line, in memory that their content cannot drive up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from concerto.errors import InputError

COMMENTS = ("//", "#")
LONGEST_LINE = 10_000


def lines_of(file: TextIO, comments: bool = False) -> Iterator[str]:
    """The lines that are not blank; without comments, unless they are wanted.

    Raises InputError at a line that no point or polygon needs.
    """
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise InputError(f"It has a line of {LONGEST_LINE:,} characters or more.")
        line = line.strip() if comments else without_comment(line)
        if line:
            yield line


def without_comment(line: str) -> str:
    """What stands before // or #."""
    for mark in COMMENTS:
        line = line.partition(mark)[0]
    return line.strip()
