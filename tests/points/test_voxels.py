import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from concerto import InputError, PointCloud
from concerto.points.voxels import voxelize

coordinates = arrays(
    np.float64,
    st.tuples(st.integers(1, 60), st.just(3)),
    elements=st.floats(-20, 20, allow_nan=False, width=32),
)


@given(coordinates, st.sampled_from([0.02, 0.5, 3.0]), st.sampled_from(["xyz", "xy", "none"]))
def test_every_point_lies_in_its_voxel(coord: np.ndarray, grid: float, center: str) -> None:
    cloud = PointCloud(torch.from_numpy(coord))
    voxels = voxelize(cloud, grid, 1.0, center)  # type: ignore[arg-type]
    origin = coord - coord
    if center == "xyz":
        low, high = coord.min(0), coord.max(0)
        origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    cells = np.floor((coord - origin) / grid)
    cells -= cells.min(0)
    assert np.array_equal(voxels.grid_coord[voxels.voxel_of_point].numpy(), cells)


@given(coordinates, st.sampled_from([0.02, 0.5, 3.0]))
def test_voxels_are_distinct_sorted_and_hold_the_point_that_stands_for_them(
    coord: np.ndarray, grid: float
) -> None:
    voxels = voxelize(PointCloud(torch.from_numpy(coord)), grid, 1.0, "xyz")
    rows = [tuple(row) for row in voxels.grid_coord.tolist()]
    assert rows == sorted(set(rows))
    assert torch.equal(voxels.voxel_of_point[voxels.points], torch.arange(len(rows)))


@settings(max_examples=60)
@given(coordinates, st.randoms(use_true_random=False))
def test_the_order_of_the_points_changes_nothing(coord: np.ndarray, random) -> None:  # type: ignore[no-untyped-def]
    # Coarse values make ties in distance, coordinates and colour.
    coord = np.round(coord)
    color = np.round(np.abs(coord[:, ::-1]) % 1.7) / 2
    order = list(range(len(coord)))
    random.shuffle(order)
    cloud = PointCloud(torch.from_numpy(coord), torch.from_numpy(color).float())
    one = voxelize(cloud, 3.0, 1.0, "xyz")
    two = voxelize(cloud[torch.tensor(order)], 3.0, 1.0, "xyz")
    assert torch.equal(one.grid_coord, two.grid_coord)
    assert torch.equal(one.coord, two.coord)
    assert torch.equal(cloud.color[one.points], cloud[torch.tensor(order)].color[two.points])
    assert torch.equal(one.voxel_of_point[order], two.voxel_of_point)


def test_the_point_nearest_the_centre_stands_for_its_voxel() -> None:
    coord = torch.tensor([[0.0, 0, 0], [0.9, 0.9, 0.9], [0.6, 0.5, 0.5], [0.1, 0.4, 0.4]])
    voxels = voxelize(PointCloud(coord), 1.0, 1.0, "none")
    assert voxels.points.tolist() == [2]


def test_ties_go_to_the_smaller_coordinates_then_colour_then_normal() -> None:
    side = torch.tensor([[0.5, 0.25, 0.5], [0.25, 0.5, 0.5], [0.25, 0.5, 0.5], [0.25, 0.5, 0.5]])
    color = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0.2, 0, 0], [0.2, 0, 0]])
    normal = torch.tensor([[0.0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 1]])
    voxels = voxelize(PointCloud(side, color, normal), 1.0, 1.0, "none")
    assert voxels.points.tolist() == [3]


def test_xyz_centres_before_voxels_and_xy_after_keeping_z() -> None:
    coord = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0]])
    indoor = voxelize(PointCloud(coord), 0.02, 1.0, "xyz")
    assert indoor.coord.tolist() == [[-0.5, -1.0, 0.0], [0.5, 1.0, 2.0]]
    outdoor = voxelize(PointCloud(coord), 0.02, 1.0, "xy")
    assert outdoor.coord.tolist() == [[-0.5, -1.0, 3.0], [0.5, 1.0, 5.0]]
    assert voxelize(PointCloud(coord), 0.02, 1.0, "none").coord.tolist() == coord.tolist()


def test_scale_applies_before_voxels() -> None:
    coord = torch.rand(200, 3, dtype=torch.float64) * 50
    scaled = voxelize(PointCloud(coord), 0.01, 0.2, "xy")
    assert torch.equal(
        scaled.grid_coord, voxelize(PointCloud(coord * 0.2), 0.01, 1.0, "xy").grid_coord
    )


def test_the_largest_extent_that_a_curve_holds_is_accepted_and_no_more() -> None:
    fits = torch.tensor([[0.0, 0, 0], [65_533.5, 0, 0]], dtype=torch.float64)
    assert int(voxelize(PointCloud(fits), 1.0, 1.0, "xyz").grid_coord.max()) <= 65_534
    with pytest.raises(InputError, match="at most 65535 fit"):
        voxelize(PointCloud(fits + torch.tensor([[0.0, 0, 0], [1, 0, 0]])), 1.0, 1.0, "xyz")


@pytest.mark.parametrize("far", [3e38, 1.7e308, -1.7e308])
@pytest.mark.parametrize("center", ["xyz", "xy", "none"])
def test_points_at_the_end_of_the_numbers_are_voxels_or_a_clear_error(
    far: float, center: str
) -> None:
    dtype = torch.float32 if far == 3e38 else torch.float64
    cloud = PointCloud(torch.full((4, 3), far, dtype=dtype))
    if center == "xyz":
        voxels = voxelize(cloud, 0.02, 1.0, "xyz")
        assert voxels.coord.tolist() == [[0, 0, 0]]
        assert voxels.voxel_of_point.tolist() == [0, 0, 0, 0]
    else:
        with pytest.raises(InputError, match=r"from the origin.*Subtract an origin"):
            voxelize(cloud, 0.02, 1.0, center)  # type: ignore[arg-type]
    opposite = PointCloud(torch.cat([cloud.coord, -cloud.coord]))
    with pytest.raises(InputError, match=r"at most 65535 fit.*stray points") as caught:
        voxelize(opposite, 0.02, 1.0, center)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_scale_or_grid_beyond_the_numbers_is_named(dtype: torch.dtype) -> None:
    cloud = PointCloud(torch.tensor([[0.0, 1, 2], [3, 4, 5]], dtype=dtype))
    with pytest.raises(InputError, match=r"scale is 1e\+308, which takes the coordinates beyond"):
        voxelize(cloud, 0.02, 1e308, "xyz")
    with pytest.raises(InputError, match=r"grid_size is 1e\+308"):
        voxelize(cloud, 1e308, 1.0, "xyz")
    with pytest.raises(InputError, match=r"grid_size is 1e-308"):
        voxelize(cloud[torch.tensor([0])], 1e-308, 1.0, "xyz")
