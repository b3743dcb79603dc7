"""The library's messages in the command line's words."""

from __future__ import annotations

import re

# Characters of a table's column of texts.
COLUMN = 40


def in_flags(message: str) -> str:
    """Advice that names arguments of Python, such as scale=2, with the flags that set them."""
    message = re.sub(
        r"(color_range|intrinsics)=\(([^)]+)\)",
        lambda match: f"--{match[1].replace('_', '-')} {match[2].replace(',', '')}",
        message,
    )
    message = message.replace("drop_invalid=True", "--drop-invalid")
    message = message.replace("skip_bad=True", "--skip-bad")
    message = message.replace("pass encoder=", "pass --encoder to segment")
    message = re.sub(r"encoder=('[^']+')", r"--encoder \1", message)
    message = message.replace("geometry=VGGT()", "--vggt")
    message = re.sub(r'geometry=DepthModel\("([^"]+)"\)', r"--depth-model \1", message)
    return re.sub(
        r"\b(scale|grid_size|columns|filename|revision|depth_scale|max_depth|align|label_map|labels"
        r"|split_files)=",
        lambda match: f"--{match[1].replace('_', '-')} ",
        message,
    )


def shorten(text: str) -> str:
    """A text in a line of a table: in one line, and no longer than `COLUMN`."""
    text = " ".join(text.split())
    return text if len(text) <= COLUMN else f"{text[: COLUMN - 1]}…"
