"""Labels as files hold them, floats among them, as the integers that they mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError


def whole_numbers(values: NDArray[np.generic], place: str) -> NDArray[np.int64]:
    """Labels (n,) as integers, -1 where they are NaN. Raises InputError where one is a fraction."""
    if values.dtype.kind == "u":
        return np.asarray(values.astype(np.int64))
    unknown = ~np.isfinite(values.astype(np.float64))
    numbers = np.where(unknown, -1, values).astype(np.int64)
    wrong = ~unknown & (numbers != values)
    if wrong.any():
        raise InputError(f"{place} has label {values[wrong][0]}; labels are whole numbers.")
    return np.asarray(numbers)
