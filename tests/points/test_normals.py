"""What estimated normals promise: the right line, the right side, whatever the cloud."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import concerto
from concerto import InputError, PointCloud, estimate_normals

RNG_SEED = 3
UTM = np.array([691_607.0, 5_334_760.0, 520.0])


def sphere(count=8000, radius=1.0, seed=RNG_SEED):
    """Points (count, 3) on a sphere about the origin, and their outward normals."""
    normal = np.random.default_rng(seed).normal(size=(count, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return radius * normal, normal


def torus(count=12_000, radius=1.0, tube=0.4):
    rng = np.random.default_rng(RNG_SEED)
    around, across = rng.random((2, count)) * 2 * np.pi
    normal = np.stack(
        [np.cos(across) * np.cos(around), np.cos(across) * np.sin(around), np.sin(across)], 1
    )
    middle = np.stack([np.cos(around), np.sin(around), np.zeros(count)], 1)
    return radius * middle + tube * normal, normal


def cylinder(count=8000, radius=0.5, height=3.0):
    """The side alone, open at both ends, about the z axis."""
    rng = np.random.default_rng(RNG_SEED)
    around = rng.random(count) * 2 * np.pi
    normal = np.stack([np.cos(around), np.sin(around), np.zeros(count)], 1)
    return radius * normal + np.outer(rng.random(count) * height, [0, 0, 1]), normal


def plane(count=4000, up=(0.3, -0.2, 0.9)):
    rng = np.random.default_rng(RNG_SEED)
    normal = np.array(up) / np.linalg.norm(up)
    along = np.linalg.svd(normal[None])[2][1:]
    return rng.normal(size=(count, 2)) @ along, np.tile(normal, (count, 1))


def box(size=(2.0, 1.5, 1.0), density=3000, sides=range(6)):
    """Points on the sides of a box from the origin: 0-2 the low x, y, z; 3-5 the high ones."""
    rng = np.random.default_rng(RNG_SEED)
    size = np.array(size)
    points, normals = [], []
    for side in sides:
        axis, high = side % 3, side // 3
        face = rng.random((int(density * np.delete(size, axis).prod()), 3)) * size
        face[:, axis] = high * size[axis]
        points.append(face)
        normals.append(np.tile(np.eye(3)[axis] * (2 * high - 1), (len(face), 1)))
    return np.concatenate(points), np.concatenate(normals)


def normals_of(points, *args, **kwargs):
    """(N, 3) float64, as arrays."""
    return estimate_normals(points, *args, **kwargs).normal.double().numpy()


def degrees(left, right):
    """(N,) angles between directions, either sign."""
    sine = np.linalg.norm(np.cross(left, right), axis=1)
    return np.degrees(np.arctan2(sine, np.abs((left * right).sum(1))))


def agreement(left, right):
    """The share of rows that point to the same side."""
    return ((left * right).sum(1) > 0).mean()


@pytest.mark.parametrize(
    ("surface", "median", "most"),
    [(plane, 1e-5, 1e-5), (sphere, 0.7, 2.5), (cylinder, 1, 4), (torus, 1.5, 5)],
)
def test_normals_are_those_of_the_surface(surface, median, most) -> None:
    points, truth = surface()
    error = degrees(normals_of(points), truth)
    assert np.median(error) < median
    assert np.quantile(error, 0.99) < most


@pytest.mark.parametrize(("surface", "median"), [(plane, 1.3), (sphere, 2.1), (torus, 2.8)])
def test_noise_costs_a_few_degrees_and_more_neighbours_smooth_it(surface, median) -> None:
    points, truth = surface()
    noisy = points + np.random.default_rng(0).normal(scale=0.005, size=points.shape)
    few, many = (np.median(degrees(normals_of(noisy, k), truth)) for k in (8, 40))
    assert many < np.median(degrees(normals_of(noisy), truth)) < median
    assert many < few / 2


def test_the_sides_of_a_box_are_flat_up_to_its_edges() -> None:
    points, truth = box()
    inner = ((points > 0.08) & (points < np.array([2.0, 1.5, 1.0]) - 0.08)).sum(1) == 2
    assert inner.mean() > 0.7
    assert degrees(normals_of(points), truth)[inner].max() < 0.01


@pytest.mark.parametrize("viewpoint", [(0, 0, 0), (0.2, -0.1, 0.3)])
def test_normals_face_a_viewpoint_inside(viewpoint) -> None:
    points, truth = sphere()
    normal = normals_of(points, viewpoint=viewpoint)
    assert agreement(normal, -truth) == 1
    assert agreement(normal, np.array(viewpoint) - points) == 1


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_normals_face_a_viewpoint_outside_point_by_point(kind) -> None:
    points, _ = box()
    eye = [5.0, 4.0, 3.0]
    normal = normals_of(points, viewpoint=kind(eye))
    assert ((normal * (np.array(eye) - points)).sum(1) >= -1e-6).all()


@pytest.mark.parametrize("surface", [sphere, torus, cylinder, box])
def test_closed_things_face_outwards(surface) -> None:
    points, truth = surface()
    assert agreement(normals_of(points), truth) > 0.999


def test_each_of_two_separate_things_faces_outwards() -> None:
    ball, ball_normal = sphere()
    ring, ring_normal = torus()
    points = np.concatenate([ball, ring + np.array([5, 0, 1])])
    assert agreement(normals_of(points), np.concatenate([ball_normal, ring_normal])) == 1


def test_a_thing_that_is_scanned_densely_on_one_side_still_faces_outwards() -> None:
    points, truth = sphere(12_000)
    rng = np.random.default_rng(0)
    kept = rng.random(len(points)) < np.where(points[:, 2] < 0, 1, 0.15)
    assert agreement(normals_of(points[kept]), truth[kept]) == 1


@pytest.mark.parametrize("up", [(0.3, -0.2, 0.9), (0, 0, 1), (0.9, 0, 0.2)])
def test_an_open_surface_faces_up(up) -> None:
    points, truth = plane(up=up)
    assert agreement(normals_of(points), truth) == 1


def test_a_bowl_faces_up_although_that_is_inwards() -> None:
    points, truth = sphere()
    low = points[:, 2] < -0.5
    assert agreement(normals_of(points[low]), -truth[low]) == 1


@pytest.mark.parametrize("up", [(1, 0, 0), (1, -0.5, 0.01), (0, 1, 0)])
def test_a_lone_wall_faces_the_positive_axis(up) -> None:
    points, truth = plane(up=up)
    assert agreement(normals_of(points), truth) == 1


def test_a_room_faces_inwards_without_its_ceiling_and_outwards_with_it() -> None:
    size = (4.0, 3.0, 2.5)
    points, outward = box(size, 400, range(5))
    assert agreement(normals_of(points), -outward) > 0.99
    points, outward = box(size, 400)
    assert agreement(normals_of(points), outward) > 0.99
    assert agreement(normals_of(points, viewpoint=(2, 1.5, 1.2)), -outward) > 0.99


def test_the_floor_of_a_real_room_faces_up(shared: Path) -> None:
    from scipy.spatial import KDTree

    cloud = concerto.read(shared / "data/scans/scannet_scene0000_00.ply")
    coord = cloud.coord.numpy()
    low = coord[:, 2] < 0.12
    around = KDTree(coord).query_ball_point(coord, 0.2)
    floor = np.array([low[rows].all() for rows in around])
    assert floor.sum() > 2000
    normal = estimate_normals(cloud).normal.double().numpy()
    tilt = degrees(normal, np.array([[0.0, 0, 1]]))[floor]
    assert np.median(tilt) < 2
    assert (tilt < 5).mean() > 0.9
    assert (normal[floor, 2] > 0).mean() > 0.98
    seen = estimate_normals(cloud, viewpoint=(4, 4, 1.6)).normal
    assert (seen[torch.from_numpy(floor), 2] > 0).float().mean() > 0.99


def test_the_ground_of_a_lidar_sweep_faces_its_scanner(shared: Path) -> None:
    sweep = np.fromfile(shared / "data/scans/kitti_000008.bin", np.float32).reshape(-1, 4)[:, :3]
    near = np.hypot(sweep[:, 0], sweep[:, 1]) < 12
    ground = near & (np.abs(sweep[:, 2] + 1.7) < 0.15)
    assert ground.sum() > 2000
    normal = normals_of(sweep, 60, viewpoint=(0, 0, 0))
    assert (normal[ground, 2] > 0.95).mean() > 0.9


def test_normals_turn_with_the_points() -> None:
    points, _ = torus()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    straight, turned = normals_of(points), normals_of(points @ turn.T)
    assert np.median(degrees(straight @ turn.T, turned)) < 1e-3
    assert agreement(straight @ turn.T, turned) == 1


@pytest.mark.parametrize("factor", [1e-200, 1e-3, 3.0, 1e5, 1e300])
def test_the_unit_of_length_does_not_matter(factor) -> None:
    points, _ = torus(3000)
    assert np.abs(normals_of(points) - normals_of(points * factor)).max() < 1e-5


def test_float64_coordinates_far_from_the_origin_keep_their_precision() -> None:
    points, _ = torus(6000)
    assert np.abs(normals_of(points) - normals_of(points + UTM)).max() < 1e-4
    # The same distances from its middle as a viewpoint are kept, too.
    near = normals_of(points, viewpoint=(3, 2, 1))
    assert np.abs(near - normals_of(points + UTM, viewpoint=UTM + np.array([3, 2, 1]))).max() < 1e-4


coordinates = arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 60), st.just(3)),
    elements=st.floats(-20, 20, allow_nan=False, width=32),
)
viewpoints = st.none() | st.tuples(*[st.floats(-50, 50)] * 3)


@settings(max_examples=150, deadline=None)
@given(coordinates, st.integers(3, 70), viewpoints, st.integers(0, 2), st.randoms())
def test_any_cloud_has_unit_normals_or_zeros_whatever_the_order(
    coord, k, viewpoint, decimals, random
) -> None:
    # Coarse values make duplicates, lines, planes and ties in distance.
    coord = np.round(coord, decimals)
    order = list(range(len(coord)))
    random.shuffle(order)
    normal = normals_of(coord, k, viewpoint)
    length = np.linalg.norm(normal, axis=1)
    assert ((np.abs(length - 1) < 1e-5) | (length == 0)).all()
    assert np.array_equal(normals_of(coord[order], k, viewpoint), normal[order])


def test_the_order_of_the_points_changes_no_bit() -> None:
    points, _ = box(density=1500)
    noisy = points + np.random.default_rng(0).normal(scale=0.002, size=points.shape)
    order = np.random.default_rng(1).permutation(len(points))
    assert np.array_equal(normals_of(noisy)[order], normals_of(noisy[order]))


def test_points_in_the_same_place_count_once_and_get_the_same_normal() -> None:
    points, _ = sphere(2000)
    twice = np.concatenate([points, np.repeat(points[:5], 100, axis=0)])
    once = normals_of(points)
    assert np.array_equal(normals_of(twice), np.concatenate([once, np.repeat(once[:5], 100, 0)]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("direction", [(1, 0, 0), (0.3, -0.7, 0.5)])
def test_a_line_has_no_normals(direction, dtype) -> None:
    along = np.random.default_rng(0).random(300)
    line = (np.outer(along, direction) + np.array([1, 2, 3])).astype(dtype)
    assert (normals_of(line) == 0).all()
    assert (normals_of(line, viewpoint=(9, 9, 9)) == 0).all()


@pytest.mark.parametrize(
    "coord", [np.ones((1, 3)), np.eye(3)[:2], np.ones((50, 3)), np.repeat(np.eye(3)[:2], 9, 0)]
)
def test_fewer_than_three_places_have_no_normals(coord) -> None:
    assert (normals_of(coord) == 0).all()


def test_three_points_make_a_plane() -> None:
    normal = normals_of(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]))
    assert np.allclose(normal, [[0, 0, 1]] * 3)


def test_what_was_given_stays_and_old_normals_go() -> None:
    points, truth = sphere(500)
    color = torch.rand(500, 3)
    given_cloud = PointCloud(torch.from_numpy(points), color, torch.eye(3)[torch.zeros(500).long()])
    cloud = estimate_normals(given_cloud)
    assert torch.equal(cloud.coord, given_cloud.coord)
    assert cloud.coord.dtype == torch.float64
    assert torch.equal(cloud.color, color)
    assert cloud.normal.dtype == torch.float32
    assert agreement(cloud.normal.double().numpy(), truth) == 1
    assert torch.equal(given_cloud.normal, torch.eye(3)[torch.zeros(500).long()])


def test_what_is_not_finite_is_refused_or_left_out() -> None:
    points, _ = sphere(500)
    holed = np.concatenate([points, [[np.nan, 0, 0], [0, np.inf, 0]]])
    with pytest.raises(InputError, match=r"NaN or infinite at 2 of 502 points, first at index 500"):
        estimate_normals(holed)
    normal = normals_of(holed, drop_invalid=True)
    assert np.array_equal(normal[:500], normals_of(points))
    assert (normal[500:] == 0).all()
    with pytest.raises(InputError, match="None of the 2 points"):
        estimate_normals(holed[500:], drop_invalid=True)


@pytest.mark.parametrize("k", [2, 0, -3, 4.0, True, "8", None])
def test_k_must_be_an_integer_from_3_on(k) -> None:
    with pytest.raises(InputError, match=r"k is .* must be an integer from 3 on"):
        estimate_normals(np.eye(3), k)


@pytest.mark.parametrize(
    "viewpoint",
    [(0, 0), 3.0, [[0, 0, 0]], (0, 0, np.nan), (np.inf, 0, 0), "inside", object(), [0, [1], 2]],
)
def test_a_viewpoint_must_be_three_finite_coordinates(viewpoint) -> None:
    with pytest.raises(InputError, match=r"viewpoint is .*pass three finite coordinates"):
        estimate_normals(np.eye(3), viewpoint=viewpoint)


def test_a_cloud_without_points_is_refused() -> None:
    with pytest.raises(InputError, match="There are no points"):
        estimate_normals(np.zeros((0, 3)))


@pytest.mark.parametrize("packing", ["offset", "batch"])
def test_scenes_packed_together_get_the_normals_that_each_gets_alone(packing: str) -> None:
    # Two sheets, nearer to each other than the points of either are.
    flat = np.random.default_rng(RNG_SEED).random((300, 3)) * [1, 1, 0]
    steep = flat[:200] @ np.array([[0, 0, 1.0], [0, 1, 0], [1, 0, 0]])
    coord = np.concatenate([flat, steep])
    alone = torch.cat([estimate_normals(scene).normal for scene in (flat, steep)])
    if packing == "offset":
        assert torch.equal(estimate_normals({"coord": coord, "offset": [300, 500]}).normal, alone)
        return
    order = np.random.default_rng(RNG_SEED).permutation(500)
    batch = np.repeat([0, 1], [300, 200])
    mixed = estimate_normals({"coord": coord[order], "batch": batch[order]})
    torch.testing.assert_close(mixed.normal, alone[torch.from_numpy(order)])


def test_a_packed_scene_without_a_finite_point_has_no_normals() -> None:
    flat = np.random.default_rng(RNG_SEED).random((300, 3)) * [1, 1, 0]
    nowhere = np.full((10, 3), np.nan)
    packed = {"coord": np.concatenate([nowhere, flat]), "offset": [10, 310]}
    normal = estimate_normals(packed, drop_invalid=True).normal
    assert not normal[:10].any()
    assert torch.equal(normal[10:], estimate_normals(flat).normal)
