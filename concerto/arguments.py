"""Checks of the numbers that functions are called with."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from concerto.errors import InputError


def positive(given: float | None, default: float, name: str) -> float:
    """`given`, or the default for None. Raises InputError for what is not a positive number."""
    if given is None:
        return default
    if not (isinstance(given, Real) and 0 < given < float("inf")):
        raise InputError(f"{name} is {given!r}; it must be a positive number.")
    return float(given)


def positive_integer(given: Any, name: str) -> int:
    """`given`. Raises InputError for what is not a positive integer."""
    if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
        raise InputError(f"{name} is {given!r}; it must be a positive integer.")
    return int(given)
