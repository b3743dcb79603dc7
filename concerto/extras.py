"""Libraries that only some uses need."""

from __future__ import annotations

import importlib
from typing import Any

from concerto.errors import MissingExtraError


def import_extra(module: str, needed_by: str, extra: str = "io") -> Any:
    """The module, or MissingExtraError that says how to get it.

    needed_by: who needs it, in the plural, as "LAS files". extra: of this package, what brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f'{needed_by} need {module}: pip install "concerto-3d[{extra}]".'
        ) from error
