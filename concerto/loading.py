"""`concerto.from_pretrained`: any source of weights, as the class that its config names."""

from __future__ import annotations

import os
from typing import Any

from concerto.model import Concerto


def from_pretrained(
    pretrained_model_name_or_path: str | os.PathLike[str] = "concerto-tiny", **options: Any
) -> Concerto:
    """Load pretrained weights; see `Concerto.from_pretrained` for sources, options and errors."""
    return Concerto.from_pretrained(pretrained_model_name_or_path, **options)
