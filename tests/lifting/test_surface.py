"""What a depth image says: exact on planes, silent where it cannot be trusted."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from concerto.lifting.frame import Intrinsics
from concerto.lifting.surface import GRAZING, noise, surface

CAMERA = Intrinsics(80.0, 70.0, 30.0, 25.0)
SHAPE = (50, 60)


def plane(normal: np.ndarray, distance: float, camera: Intrinsics = CAMERA) -> np.ndarray:
    """Depth of the plane n·p = -distance, n of unit length towards the camera."""
    row, column = np.indices(SHAPE)
    rays = np.stack([(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy])
    rays = np.concatenate([rays, np.ones((1, *SHAPE))])
    return np.float32(-distance / np.tensordot(normal, rays, 1))


@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(0.5, 3))
def test_points_and_normals_of_a_plane_are_its_own(x: float, y: float, distance: float) -> None:
    normal = np.array([x, y, -1]) / np.linalg.norm([x, y, 1])
    depth = plane(normal, distance)
    seen = surface(depth, CAMERA, max_depth=20)
    assert len(seen.pixel) > 0.9 * depth.size
    np.testing.assert_allclose(normal @ seen.point, -distance, rtol=1e-5)
    np.testing.assert_allclose(seen.normal, np.tile(normal[:, None], len(seen.pixel)), atol=2e-3)
    np.testing.assert_array_equal(seen.point[2], depth.ravel()[seen.pixel])


def test_pixels_beside_a_step_are_left_out_and_others_are_not() -> None:
    depth = plane(np.array([0, 0, -1.0]), 1)
    depth[:, 30:] = 2
    depth[10, 29] = 1.5  # flies between
    used = np.zeros(SHAPE, bool)
    used.ravel()[surface(depth, CAMERA, 20).pixel] = True
    assert not used[:, 29:31].any()
    assert not used[10, 28]
    assert used[:, 28].sum() == 49
    assert used[:, :28].all()
    assert used[:, 31:].all()


def test_what_is_seen_at_a_grazing_angle_is_left_out() -> None:
    camera = Intrinsics(800.0, 800.0, 30.0, 25.0)
    # Over the image the cosine goes from 0.07 to 0.13.
    depth = plane(np.array([0.0, -np.sqrt(1 - 0.1**2), -0.1]), 0.2, camera)
    seen = surface(depth, camera, 100)
    cosine = -np.einsum("cn,cn->n", seen.normal, seen.point) / np.linalg.norm(seen.point, axis=0)
    assert 0.4 < len(seen.pixel) / depth.size < 0.6
    assert cosine.min() > GRAZING


def test_nothing_is_used_beyond_the_largest_depth_or_where_nothing_was_measured() -> None:
    depth = plane(np.array([0.6, 0, -0.8]), 1)
    depth[:5] = 0
    pixel = surface(depth, CAMERA, max_depth=1.2).pixel
    assert len(pixel)
    assert (depth.ravel()[pixel] > 0).all()
    assert (depth.ravel()[pixel] <= 1.2).all()


def test_confidence_falls_with_depth_as_noise_grows_and_with_the_angle() -> None:
    near, far = (surface(plane(np.array([0, 0, -1.0]), d), CAMERA, 20) for d in (1.0, 3.0))
    ratio = noise(np.float32(3)) ** 2 / noise(np.float32(1)) ** 2
    np.testing.assert_allclose(near.weight / far.weight, ratio, rtol=1e-3)
    tilted = surface(plane(np.array([0.6, 0, -0.8]), 0.8), CAMERA, 20)
    middle = 25 * 60 + 30
    assert tilted.point[2][tilted.pixel == middle] == 1
    weights = [one.weight[one.pixel == middle] for one in (tilted, near)]
    np.testing.assert_allclose(weights[0] / weights[1], 0.8, rtol=1e-3)
