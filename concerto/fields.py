"""Checks of the fields of configs, which may come from a file as well as from code."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from numbers import Integral
from typing import Any

from concerto.errors import ConfigError


def check_integers(config: object, *names: str, least: int | None = None) -> None:
    """Make sequences of integers tuples. Raises ConfigError for anything else, or too small."""
    wanted = "integers" if least is None else f"integers from {least} on"
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, (tuple, list, range)) or not all(
            _is_integer(v) and (least is None or v >= least) for v in value
        ):
            raise ConfigError(f"{name} is {value!r}; it must be a sequence of {wanted}.")
        _keep(config, name, tuple(map(int, value)))


def check_texts(config: object, *names: str) -> None:
    """Make sequences of texts tuples. Raises ConfigError for anything else, a lone text too."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, (tuple, list)) or not all(isinstance(v, str) for v in value):
            raise ConfigError(f"{name} is {value!r}; it must be a sequence of texts.")
        _keep(config, name, tuple(value))


def check_text(config: object, *names: str, optional: bool = False) -> None:
    """Raise ConfigError for what is no text. optional: None will do too."""
    for name in names:
        value = getattr(config, name)
        if not (isinstance(value, str) or (optional and value is None)):
            raise ConfigError(f"{name} is {value!r}; it must be a text.")


def check_integer(config: object, *names: str, least: int) -> None:
    """Make integers of any kind Python's. Raises ConfigError for what is none from `least` on."""
    for name in names:
        value = getattr(config, name)
        if not _is_integer(value) or value < least:
            raise ConfigError(f"{name} is {value!r}; it must be an integer from {least} on.")
        _keep(config, name, int(value))


def check_booleans(config: object, *names: str) -> None:
    """Raise ConfigError for what is neither true nor false."""
    for name in names:
        value = getattr(config, name)
        if type(value) is not bool:
            raise ConfigError(f"{name} is {value!r}; it must be true or false.")


def check_numbers(config: object, *names: str) -> None:
    """Raise ConfigError for what is no finite number."""
    for name in names:
        value = getattr(config, name)
        # Not all integers fit into a float.
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            raise ConfigError(f"{name} is {value!r}; it must be a finite number.")


def check_object(name: str, values: Any) -> None:
    """Raise ConfigError for what is not named fields: a value of a file that should hold some."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name} is {values!r}; it must be an object with fields.")


def check_keys(
    what: str, values: Mapping[str, Any], known: Collection[str], needed: Collection[str]
) -> None:
    """Raise ConfigError for fields of a file that are missing or unknown. what: for the message."""
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise ConfigError(
            f"{what} has keys that this version does not know: {', '.join(unknown)}. "
            "It may come from a newer version of the library: upgrade concerto-3d."
        )
    lacking = sorted(set(needed) - set(values))
    if lacking:
        raise ConfigError(f"{what} lacks {', '.join(lacking)}.")


def _is_integer(value: Any) -> bool:
    """Whether it is one of Python's or NumPy's; true and false are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _keep(config: object, name: str, value: Any) -> None:
    # Configs are frozen, also for themselves.
    object.__setattr__(config, name, value)
