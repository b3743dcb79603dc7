"""Texts in the tables that commands print."""

from __future__ import annotations

# Characters of a table's column of texts.
COLUMN = 40


def shorten(text: str) -> str:
    """A text in a line of a table: in one line, and no longer than `COLUMN`."""
    text = " ".join(text.split())
    return text if len(text) <= COLUMN else f"{text[: COLUMN - 1]}…"
