"""Back to pixels: a camera sees what it saw, the near before the far, without gaps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import concerto
from concerto import Camera, Lifter, PointCloud
from concerto.errors import InputError
from concerto.lifting.projection import find_spacing, rows_seen
from recordings import CAMERA, frames

FRAMES = frames()


@pytest.fixture(scope="module")
def room() -> PointCloud:
    lifter = Lifter()
    for frame in FRAMES:
        lifter.add(frame)
    return lifter.cloud()


@pytest.mark.parametrize("number", range(0, 8, 3))
def test_a_camera_sees_the_picture_that_it_took(room: PointCloud, number: int) -> None:
    frame = FRAMES[number]
    seen = concerto.project(room.color, room, Camera.of(frame))
    assert seen.shape == (72, 96, 3)
    off = np.abs(seen.numpy() - frame.color / 255).max(2)
    assert np.mean(off < 0.05) > 0.95


def test_a_larger_picture_of_the_same_view_has_no_gaps(room: PointCloud) -> None:
    camera = Camera.of(FRAMES[0]).resized(360, 480)
    seen = concerto.project(room.color, room, camera).numpy()
    wanted = FRAMES[0].color.repeat(5, 0).repeat(5, 1) / 255
    assert np.mean(np.abs(seen - wanted).max(2) < 0.05) > 0.93
    assert np.mean(seen.any(2)) > 0.98


def wall(z: float, step: float = 0.02) -> torch.Tensor:
    side = torch.arange(-50, 51) * step
    x, y = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([x.flatten(), y.flatten(), torch.full((101 * 101,), z)], 1)


FRONT = Camera(CAMERA, np.eye(4), 72, 96)


def test_the_nearer_wall_hides_the_farther_whatever_their_order() -> None:
    near, far = wall(1.0), wall(1.5)
    for parts in ((near, far), (far, near)):
        cloud = PointCloud(torch.cat(parts))
        depth = concerto.project(cloud.coord[:, 2:], cloud, FRONT)
        assert (depth == 1).all()


def test_features_keep_their_dtype_and_channels() -> None:
    cloud = PointCloud(wall(1.0))
    features = torch.rand(len(cloud), 7, dtype=torch.float16)
    seen = concerto.project(features, cloud, FRONT)
    assert seen.shape == (72, 96, 7)
    assert seen.dtype == torch.float16


def test_arrays_are_seen_however_they_lie_in_memory() -> None:
    cloud = PointCloud(wall(1.0))
    features = np.random.default_rng(0).random((len(cloud), 2))
    wanted = concerto.project(torch.from_numpy(features), cloud, FRONT)
    for other in (features.astype(">f8"), features[::-1].copy()[::-1]):
        assert torch.equal(concerto.project(other, cloud, FRONT), wanted)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "float64"])
def test_arrays_keep_their_dtype(dtype: str) -> None:
    cloud = PointCloud(wall(1.0))
    features = (cloud.coord[:, :2] > 0).numpy().astype(dtype)
    seen = concerto.project(features, cloud, FRONT).numpy()
    assert seen.dtype == dtype
    assert (seen == features[rows_seen(cloud, FRONT)]).all()


def test_small_gaps_are_filled_and_large_ones_are_left_open() -> None:
    coord = wall(1.0)
    x, y = coord[:, 0], coord[:, 1]
    small, large = torch.hypot(x + 0.4, y) < 0.06, torch.hypot(x - 0.3, y) < 0.25
    cloud = PointCloud(coord[~small & ~large])
    rows = rows_seen(cloud, FRONT)
    assert rows[36, round(47.5 - 0.4 * 70)] >= 0
    assert rows[36, round(47.5 + 0.3 * 70)] == -1
    assert rows_seen(cloud, FRONT, holes=0)[36, round(47.5 - 0.4 * 70)] == -1


def test_what_is_behind_the_camera_or_beside_the_picture_is_not_seen() -> None:
    behind = PointCloud(wall(-1.0))
    beside = PointCloud(wall(1.0) + torch.tensor([9.0, 0, 0]))
    for cloud in (behind, beside):
        assert (rows_seen(cloud, FRONT) == -1).all()
        assert not concerto.project(torch.ones(len(cloud), 2), cloud, FRONT).any()


def test_of_no_points_nothing_is_seen() -> None:
    cloud = PointCloud(wall(1.0))[torch.zeros(0, dtype=torch.int64)]
    seen = concerto.project(torch.ones(0, 2), cloud, FRONT)
    assert seen.shape == (FRONT.height, FRONT.width, 2)
    assert not seen.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", range(3))
@pytest.mark.filterwarnings("error")
def test_a_point_that_is_nowhere_is_seen_nowhere(value: float, axis: int) -> None:
    coord, pose = wall(1.0), FRONT.pose.copy()
    pose[:3, :3] = [[0.8, 0, -0.6], [0, 1, 0], [0.6, 0, 0.8]]
    lost = coord.clone()
    lost[::10, axis] = value
    kept = torch.ones(len(coord), dtype=torch.bool)
    kept[::10] = False
    for camera in (FRONT, replace(FRONT, pose=pose)):
        seen = concerto.project(lost, PointCloud(lost), camera)
        wanted = concerto.project(coord[kept], PointCloud(coord[kept]), camera)
        assert (seen == wanted).all()
    nothing = PointCloud(torch.full((5, 3), value))
    assert not concerto.project(torch.ones(5, 2), nothing, FRONT).any()


def test_the_spacing_of_a_lattice_is_its_edge() -> None:
    assert find_spacing(wall(1.0).numpy()) == pytest.approx(0.02, rel=1e-3)
    assert find_spacing(np.zeros((1, 3))) == 0.02


def test_a_moved_camera_sees_the_moved_wall() -> None:
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    pose[:3, 3] = 5, 6, 7
    cloud = PointCloud(wall(1.0) @ torch.tensor(pose[:3, :3].T).float() + torch.tensor(pose[:3, 3]))
    moved = rows_seen(cloud, replace(FRONT, pose=pose), spacing=0.02)
    assert np.mean(moved == rows_seen(PointCloud(wall(1.0)), FRONT, spacing=0.02)) > 0.95


def test_what_cannot_be_projected_is_told() -> None:
    cloud = PointCloud(wall(1.0))
    with pytest.raises(InputError, match=r"expected \(10201, C\), a row for each point"):
        concerto.project(torch.ones(3, 2), cloud, FRONT)
    with pytest.raises(InputError, match=r"pass values\[:, None\]"):
        concerto.project(torch.ones(len(cloud)), cloud, FRONT)
    with pytest.raises(InputError, match="must hold real numbers"):
        concerto.project(np.array([["a", "b"]]), cloud, FRONT)
    for spacing in (-1, "wide"):
        with pytest.raises(InputError, match=f"spacing is {spacing!r}; it must be a positive"):
            concerto.project(torch.ones(len(cloud), 2), cloud, FRONT, spacing=spacing)
    for holes in (1.5, "2", None):
        with pytest.raises(InputError, match=f"holes is {holes!r}; it must be a whole number"):
            concerto.project(torch.ones(len(cloud), 2), cloud, FRONT, holes=holes)
    with pytest.raises(InputError, match="a pixel at least"):
        replace(FRONT, width=0)
    with pytest.raises(InputError, match="determinant 8"):
        replace(FRONT, pose=np.diag([2.0, 2, 2, 1]))
