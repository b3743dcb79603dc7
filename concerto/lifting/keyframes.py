"""Which frames of a video bring something new: those from where the camera has moved on."""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError

# Steps at which a room's frames still overlap by far the most.
DISTANCE, ANGLE = 0.1, 10.0


class Keyframes:
    """Says of one pose after another whether its frame is worth fusing.

    A frame is, where the camera moved by `distance` metres or turned by `angle` degrees since the
    last that was.
    """

    def __init__(self, distance: float = DISTANCE, angle: float = ANGLE) -> None:
        if not (distance >= 0 and angle >= 0):
            raise InputError(
                f"Keyframes take a distance (m) and an angle (degrees) of at least 0; given "
                f"{distance:g} and {angle:g}."
            )
        self.distance, self.angle = distance, angle
        self._last: NDArray[np.float64] | None = None

    def afresh(self) -> Keyframes:
        """The same steps, and no keyframe yet: for another video."""
        begun = copy(self)
        begun._last = None
        return begun

    def wants(self, pose: NDArray[np.float64]) -> bool:
        """Whether a frame of that pose, (4, 4) camera to world, is a keyframe; it is then kept."""
        if not self.would_want(pose):
            return False
        self.keep(pose)
        return True

    def would_want(self, pose: NDArray[np.float64]) -> bool:
        """The same, and nothing is kept: for a frame that may yet prove to be of no use."""
        return self._last is None or self._moved(self._last, pose)

    def keep(self, pose: NDArray[np.float64]) -> None:
        """Take a pose, (4, 4), for the last keyframe's."""
        self._last = np.array(pose)

    def _moved(self, last: NDArray[np.float64], pose: NDArray[np.float64]) -> bool:
        cosine = (np.trace(last[:3, :3].T @ pose[:3, :3]) - 1) / 2
        turned = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        return bool(
            np.linalg.norm(pose[:3, 3] - last[:3, 3]) >= self.distance or turned >= self.angle
        )
