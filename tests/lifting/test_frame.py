"""A frame that cannot be used is refused when it is made, with the reason."""

from dataclasses import replace

import numpy as np
import pytest

from concerto.errors import InputError
from concerto.lifting.frame import Intrinsics
from recordings import VIEWS, record

FRAME = record(VIEWS[0], "frame 7")


def posed(change: np.ndarray) -> np.ndarray:
    pose = FRAME.pose.copy()
    pose[:3, :3] = pose[:3, :3] @ change
    return pose


@pytest.mark.parametrize(
    ("change", "determinant"), [(2 * np.eye(3), "8"), (np.diag([1, 1, -1]), "-1")]
)
def test_a_pose_that_scales_or_mirrors_is_refused_with_its_determinant(
    change: np.ndarray, determinant: str
) -> None:
    with pytest.raises(InputError, match=f"frame 7.*no rigid motion.*determinant {determinant} "):
        replace(FRAME, pose=posed(change))


def test_a_pose_that_shears_is_refused() -> None:
    with pytest.raises(InputError, match="no rigid motion"):
        replace(FRAME, pose=posed(np.array([[1, 0.2, 0], [0, 1, 0], [0, 0, 1]])))


def test_a_pose_written_with_four_digits_is_rigid_enough() -> None:
    replace(FRAME, pose=FRAME.pose.round(4))


def test_a_lost_pose_is_refused() -> None:
    with pytest.raises(InputError, match=r"frame 7: the pose holds NaN.*tracking"):
        replace(FRAME, pose=np.full((4, 4), -np.inf))


@pytest.mark.parametrize(
    ("depth", "reason"),
    [
        (np.zeros((72, 96), np.float32), "empty"),
        (np.full((72, 96), 2.0, np.float32), "2 m everywhere"),
        (np.where(FRAME.depth > 2, np.float32(np.nan), FRAME.depth), "NaN"),
        (-FRAME.depth, "negative"),
        (FRAME.depth[:50], "must agree"),
        (FRAME.depth.astype(np.float64), "float32"),
    ],
)
def test_depth_that_no_camera_measured_is_refused(depth: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=f"frame 7.*{reason}"):
        replace(FRAME, depth=depth)


def test_an_image_without_colour_is_refused() -> None:
    with pytest.raises(InputError, match=r"frame 7: the image is uint8 of shape \(72, 96\)"):
        replace(FRAME, color=FRAME.color[..., 0])


@pytest.mark.parametrize("name", ["camera", "depth_camera"])
def test_a_camera_that_is_a_matrix_is_refused_with_what_makes_one_of_it(name: str) -> None:
    with pytest.raises(InputError, match=r"frame 7.*ndarray.*Intrinsics\.from_matrix"):
        replace(FRAME, **{name: np.eye(3)})


@pytest.mark.parametrize("values", [(0.0, 70, 1, 1), (70, np.nan, 1, 1)])
def test_intrinsics_that_no_camera_has_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="fx fy cx cy"):
        Intrinsics(*values)


@pytest.mark.parametrize("side", [3, 4])
def test_a_matrix_that_is_transposed_is_refused(side: int) -> None:
    matrix = np.eye(side)
    matrix[:2, :3] = [[70, 0.3, 47.5], [0, 71, 35.5]]
    assert Intrinsics.from_matrix(matrix).values == (70, 71, 47.5, 35.5)
    with pytest.raises(InputError, match=r"third row .* is 47\.5 35\.5 1; .*transposed"):
        Intrinsics.from_matrix(matrix.T)


@pytest.mark.parametrize("name", ["camera", "depth_camera"])
@pytest.mark.parametrize(
    "values",
    [(140, 140, 95.5, 71.5), (70, 70, 47.5, -1), (0.73, 0.97, 0.5, 0.5)],
    ids=["of twice the resolution", "above the image", "normalised"],
)
def test_intrinsics_that_are_of_another_image_are_refused(
    values: tuple[float, ...], name: str
) -> None:
    with pytest.raises(InputError, match=r"frame 7: .* 96 x 72 so.*another resolution.*normalised"):
        replace(FRAME, **{name: Intrinsics(*values)})
