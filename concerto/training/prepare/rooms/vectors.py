"""Products and lengths of many short vectors, a column at a time: several times as fast as NumPy's
own ways along an axis of three, and the same to the last bit."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms.parts import Floats


def dot(one: Floats, other: Floats) -> Floats:
    """Of each pair of vectors: (..., 3), (..., 3) → (...)."""
    x, y, z = (one[..., axis] * other[..., axis] for axis in range(3))
    return np.asarray(x + y + z)


def length(vectors: Floats) -> Floats:
    """(..., 3) → (...)."""
    return np.sqrt(dot(vectors, vectors))
