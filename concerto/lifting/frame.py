"""One posed image with depth, checked when it is made: a `Frame` that exists can be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError

# How far a pose's rotation may be from orthonormal: poses are often written with four digits.
RIGID = 1e-2
# Sides of one view's images at two sizes may be off a common ratio by rounding.
SAME_RATIO = 0.02
# Of the width or height of an image: with a shorter focal length a camera sees 178°, as none does.
SHORTEST_FOCAL = 0.01


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera, in pixels; the centre of the first pixel is (0, 0).

    fx, fy: focal lengths. cx, cy: the principal point.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.values).all() and self.fx > 0 and self.fy > 0):
            raise InputError(
                f"Intrinsics fx fy cx cy are {self.values}; expected finite numbers, and focal "
                "lengths over 0, in pixels."
            )

    @property
    def values(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy."""
        return self.fx, self.fy, self.cx, self.cy

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.float64]) -> Intrinsics:
        """From a (3, 3) or (4, 4) matrix, of which the skew is not used.

        Raises InputError where its third row is another than 0 0 1.
        """
        if not np.allclose(matrix[2, :3], [0, 0, 1]):
            raise InputError(
                f"The third row of the intrinsics is {' '.join(f'{v:g}' for v in matrix[2, :3])}; "
                "a camera's matrix is fx 0 cx, 0 fy cy, 0 0 1. Is it transposed?"
            )
        return cls(*(float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))))

    def resized(self, old: tuple[int, int], new: tuple[int, int]) -> Intrinsics:
        """The same camera for its image resized from `old` to `new`, (height, width) each."""
        y, x = new[0] / old[0], new[1] / old[1]
        return Intrinsics(
            self.fx * x, self.fy * y, (self.cx + 0.5) * x - 0.5, (self.cy + 0.5) * y - 0.5
        )

    def project(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pixels x, y as (2, n) of points (3, n) in front of the camera, z forward."""
        x = points[0] / points[2] * np.float32(self.fx) + np.float32(self.cx)
        y = points[1] / points[2] * np.float32(self.fy) + np.float32(self.cy)
        return np.stack([x, y])


@dataclass(frozen=True)
class Frame:
    """A posed image with depth.

    name: for messages. color: (H, W, 3) uint8 RGB. depth: (h, w) float32 metres along the optical
    axis, 0 where nothing was measured. pose: (4, 4) float64 camera to world, the camera looking
    along its z with y down. camera: of the colour image. depth_camera: of the depth image, which
    may be of another size; both cameras are taken to be in one place. confidence: (h, w) float32,
    what each depth weighs beside others, 0 where it is not to be used; None where all weigh alike.

    Raises InputError where the pose is no rigid motion, the images cannot be what they should, or
    a camera cannot be that of its image.
    """

    name: str
    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    pose: NDArray[np.float64]
    camera: Intrinsics
    depth_camera: Intrinsics
    confidence: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        check_pose(self.pose, self.name)
        _check_cameras(self)
        _check_images(self)
        _check_view(self.name, self.camera, self.color.shape)
        _check_view(self.name, self.depth_camera, self.depth.shape)
        _check_confidence(self)

    def to_camera(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points (n, 3) of the world as the camera has them, (3, n) float32."""
        return seen_from(self.pose, points)


class Sizes:
    """The size of each camera's images, as of the first that was seen: it is that of all."""

    def __init__(self) -> None:
        self._first: dict[Intrinsics, tuple[int, int]] = {}

    def check(self, name: str, camera: Intrinsics, image: NDArray[np.uint8]) -> None:
        """Raise InputError where an image (H, W, 3) differs in size from its camera's first."""
        height, width = image.shape[:2]
        first = self._first.setdefault(camera, (height, width))
        if (height, width) != first:
            raise InputError(
                f"{name}: the image is {width} x {height}, the first one's was {first[1]} x "
                f"{first[0]}; one camera's images are of one size. Pass intrinsics for each frame."
            )


def seen_from(pose: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Points (n, 3) of the world as a camera with that pose has them, (3, n) float32."""
    rotation, place = pose[:3, :3].T.astype(np.float32), pose[:3, 3]
    return np.asarray(rotation @ (points - place).T.astype(np.float32))


def same_view(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether images of two sizes, (height, width) each, may be scaled copies of each other."""
    if min(*one, *other) < 1:
        return False
    return abs(one[0] / one[1] * other[1] / other[0] - 1) <= SAME_RATIO


def camera_of_depth(
    name: str, camera: Intrinsics, color: tuple[int, ...], depth: tuple[int, ...]
) -> Intrinsics:
    """The camera of a depth image that shows an image's view in a size of its own.

    camera: of the image. color, depth: the shapes of both, (height, width, …).

    Raises InputError where the one cannot be a scaled copy of the other.
    """
    old, new = (color[0], color[1]), (depth[0], depth[1])
    told = f"{name}: the image is {old[1]} x {old[0]}, the depth {new[1]} x {new[0]}; "
    if 0 in (*old, *new):
        raise InputError(f"{told}each needs a pixel at least.")
    if not same_view(old, new):
        raise InputError(
            f"{told}they must show the same view: of one size, or one a scaled copy of the other."
        )
    return camera if old == new else camera.resized(old, new)


def check_pose(pose: NDArray[np.float64], name: str) -> None:
    """Raise InputError where a camera-to-world pose is not a (4, 4) rigid motion."""
    if pose.shape != (4, 4):
        raise InputError(f"{name}: the pose is of shape {pose.shape}; expected (4, 4).")
    if not np.isfinite(pose).all():
        raise InputError(
            f"{name}: the pose holds NaN or infinity, as some recorders write where tracking was "
            "lost. Leave this frame out."
        )
    rotation = pose[:3, :3]
    skewed = np.abs(rotation @ rotation.T - np.eye(3)).max()
    determinant = float(np.linalg.det(rotation))
    if skewed > RIGID or determinant < 0 or np.abs(pose[3] - [0, 0, 0, 1]).max() > RIGID:
        raise InputError(
            f"{name}: the pose is no rigid motion: its rotation has determinant {determinant:.4g} "
            f"and R·Rᵀ is off the identity by {skewed:.2g}; expected 1 and 0, and a last row "
            "0 0 0 1. Poses go from camera to world, without scale or mirroring."
        )


def check_image(image: NDArray[np.uint8], name: str) -> None:
    """Raise InputError where an image is not (H, W, 3) uint8."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"{name}: the image is {image.dtype} of shape {image.shape}; expected uint8 (H, W, 3)."
        )


def _check_cameras(frame: Frame) -> None:
    for camera in (frame.camera, frame.depth_camera):
        if not isinstance(camera, Intrinsics):
            raise InputError(
                f"{frame.name}: the camera is of type {type(camera).__name__}; a frame takes "
                "concerto.Intrinsics(fx, fy, cx, cy), or Intrinsics.from_matrix(matrix)."
            )


def _check_images(frame: Frame) -> None:
    color, depth = frame.color, frame.depth
    check_image(color, frame.name)
    if depth.ndim != 2 or depth.dtype != np.float32:
        raise InputError(
            f"{frame.name}: the depth is {depth.dtype} of shape {depth.shape}; expected float32 "
            "(h, w)."
        )
    if color.shape[:2] != depth.shape and frame.camera == frame.depth_camera:
        raise InputError(
            f"{frame.name}: the image is {color.shape[1]} x {color.shape[0]}, the depth "
            f"{depth.shape[1]} x {depth.shape[0]}; with the same intrinsics they must agree."
        )
    measured = depth[depth != 0]
    if not np.isfinite(measured).all() or (measured < 0).any():
        raise InputError(
            f"{frame.name}: the depth holds NaN, infinity or negative values. Use 0 where nothing "
            "was measured."
        )
    if not len(measured):
        raise InputError(f"{frame.name}: the depth image is empty: 0 everywhere.")
    if len(measured) > 1 and (measured == measured[0]).all():
        raise InputError(
            f"{frame.name}: the depth is {measured[0]:g} m everywhere; a camera measured no such "
            "thing."
        )


def _check_view(name: str, camera: Intrinsics, shape: tuple[int, ...]) -> None:
    """Raise InputError where a camera cannot be that of an image of a shape (H, W, …)."""
    height, width = shape[:2]
    inside = 0 <= camera.cx <= width - 1 and 0 <= camera.cy <= height - 1
    if not inside or camera.fx < SHORTEST_FOCAL * width or camera.fy < SHORTEST_FOCAL * height:
        told = " ".join(f"{value:g}" for value in camera.values)
        raise InputError(
            f"{name}: the intrinsics fx fy cx cy are {told}, and no camera sees an image of "
            f"{width} x {height} so; expected pixels of this image, cx and cy within it. Do they "
            "belong to another resolution (Intrinsics.resized scales them), or are they normalised?"
        )


def _check_confidence(frame: Frame) -> None:
    confidence, depth = frame.confidence, frame.depth
    if confidence is None:
        return
    if confidence.shape != depth.shape or confidence.dtype != np.float32:
        raise InputError(
            f"{frame.name}: the confidence is {confidence.dtype} of shape {confidence.shape}; "
            f"expected float32 {depth.shape}, as the depth."
        )
    if not np.isfinite(confidence).all() or (confidence < 0).any():
        raise InputError(
            f"{frame.name}: the confidence holds NaN, infinity or negative values; expected 0 "
            "where depth is not to be used, and more the surer it is."
        )
