"""The library's messages in the command line's words."""

from __future__ import annotations

import re


def in_flags(message: str) -> str:
    """Advice that names arguments of Python, such as scale=2, with the flags that set them."""
    message = re.sub(r"color_range=\((\S+), (\S+)\)", r"--color-range \1 \2", message)
    message = message.replace("drop_invalid=True", "--drop-invalid")
    return re.sub(
        r"\b(scale|grid_size|columns|filename|revision)=",
        lambda match: f"--{match[1].replace('_', '-')} ",
        message,
    )
