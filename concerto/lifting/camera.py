"""A camera that stands somewhere: what a picture was taken with, or is to be drawn for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.frame import Frame, Intrinsics, check_pose, seen_from


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in the world.

    intrinsics: in pixels. pose: (4, 4) float64 camera to world, looking along z with y down.
    height, width: of the image, in pixels.

    Raises InputError where the pose is no rigid motion, or the image has no pixels.
    """

    intrinsics: Intrinsics
    pose: NDArray[np.float64]
    height: int
    width: int

    def __post_init__(self) -> None:
        check_pose(self.pose, "camera")
        if min(self.height, self.width) < 1:
            raise InputError(
                f"The camera's image is {self.width} x {self.height}; it needs a pixel at least."
            )

    @classmethod
    def of(cls, frame: Frame) -> Camera:
        """The camera that took a frame's colour image."""
        height, width = frame.color.shape[:2]
        return cls(frame.camera, frame.pose, height, width)

    def resized(self, height: int, width: int) -> Camera:
        """The same view in an image of another size."""
        old, new = (self.height, self.width), (height, width)
        return replace(
            self, intrinsics=self.intrinsics.resized(old, new), height=height, width=width
        )

    def to_camera(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points (n, 3) of the world as the camera has them, (3, n) float32."""
        return seen_from(self.pose, points)
