"""Libraries that only some formats need."""

from __future__ import annotations

import importlib
from typing import Any

from concerto.errors import MissingExtraError


def import_extra(module: str, needed_by: str) -> Any:
    """The module, or MissingExtraError that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f'{needed_by} files need {module}: pip install "concerto-3d[io]".'
        ) from error
