import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import concerto
from concerto import ConcertoError, ConcertoWarning, InputError, PointCloud
from concerto.points.convert import to_point_cloud
from conftest import random_cloud

CLOUD = random_cloud(20)
XYZ = CLOUD.coord.numpy()
RGB = CLOUD.color.numpy()
NORMAL = CLOUD.normal.numpy()


@pytest.mark.parametrize(
    "points",
    [
        np.hstack([XYZ, RGB, NORMAL]),
        torch.from_numpy(np.hstack([XYZ, RGB, NORMAL])),
        {"coord": XYZ, "color": RGB, "normal": NORMAL},
        {"coord": torch.from_numpy(XYZ), "color": RGB * 255, "normal": NORMAL * 7},
        SimpleNamespace(coord=XYZ, color=RGB, normal=NORMAL),
        CLOUD,
    ],
    ids=["array", "tensor", "dict", "mixed dict", "namespace", "PointCloud"],
)
def test_all_that_people_hold_becomes_the_same_cloud(points: object) -> None:
    cloud = to_point_cloud(points)
    assert torch.equal(cloud.coord, CLOUD.coord)
    assert torch.allclose(cloud.color, CLOUD.color, atol=1e-6)
    assert torch.allclose(cloud.normal, CLOUD.normal)


def test_a_path_is_read(tmp_path: Path) -> None:
    concerto.write(tmp_path / "scan.npz", CLOUD)
    for path in (tmp_path / "scan.npz", str(tmp_path / "scan.npz")):
        assert torch.equal(to_point_cloud(path).coord, CLOUD.coord)


@pytest.mark.parametrize("width", [3, 6, 9])
def test_columns_are_xyz_then_rgb_then_normals(width: int) -> None:
    cloud = to_point_cloud(np.hstack([XYZ, RGB, NORMAL])[:, :width])
    assert (cloud.color is None) == (width < 6)
    assert (cloud.normal is None) == (width < 9)


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (np.float64, torch.float64),
        (np.float32, torch.float32),
        (np.float16, torch.float32),
        (np.int32, torch.float64),
        (np.uint16, torch.float64),
        (np.dtype(">f4"), torch.float32),
        (np.longdouble, torch.float64),
    ],
)
def test_coordinates_keep_their_precision(dtype: type, kept: torch.dtype) -> None:
    cloud = to_point_cloud((XYZ * 5).astype(dtype))
    assert cloud.coord.dtype == kept
    assert np.allclose(cloud.coord.numpy(), (XYZ * 5).astype(dtype).astype(np.float64))


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_coordinates_in_half_precision_are_warned_of_where_it_merges_points(unit: float) -> None:
    room = (torch.rand(50, 3) * 6 - 3) * unit
    room[:2] = torch.tensor([[-3.0], [3.0]]) * unit
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_point_cloud(room.half())
    with pytest.warns(ConcertoWarning, match=r"torch\.bfloat16, whose steps near 3\S* are"):
        to_point_cloud(room.bfloat16())
    with pytest.warns(ConcertoWarning, match=r"torch\.float16, whose steps near 63\S* are"):
        to_point_cloud((room + 60 * unit if unit == 1 else room / 1000 + 60).half())


def test_arrays_with_other_strides_or_read_only_are_read() -> None:
    flipped = XYZ[::-1]
    flipped.flags.writeable = False
    assert np.array_equal(to_point_cloud(flipped).coord.numpy(), flipped)


@pytest.mark.parametrize(
    ("color", "white"),
    [
        (np.array([[0, 128, 255]], np.uint8), 255),
        (np.array([[0, 1, 1]], np.uint8), 255),
        (np.array([[0, 128, 255]], np.int64), 255),
        (np.array([[0, 0.5, 1.0]]), 1),
        (np.array([[0, 0.0, 0.0]]), 1),
        (np.array([[0, 0.5, 200.0]]), 255),
    ],
)
def test_colour_range_is_told_by_dtype_then_range(color: np.ndarray, white: float) -> None:
    cloud = to_point_cloud({"coord": np.zeros((1, 3)), "color": color})
    assert np.allclose(cloud.color.numpy(), color / white)


def test_a_given_colour_range_decides() -> None:
    color = np.array([[0, 0.5, 1.5]])
    cloud = to_point_cloud({"coord": np.zeros((1, 3)), "color": color}, color_range=(0, 2))
    assert np.allclose(cloud.color.numpy(), color / 2)


@pytest.mark.parametrize(
    ("color", "message"),
    [
        (np.array([[0, 0.5, 1.5]]), r"neither 0-1 nor clearly 0-255.*color_range=\(0, 255\)"),
        (np.array([[0, 5, 300]]), r"color_range=\(0, 65535\)"),
        (np.array([[0, 5, 300.0]]), r"color_range=\(0, 65535\)"),
        (np.array([[0, -0.5, 1.0]]), r"no colour is negative.*normals.*dict\(coord="),
        (np.array([[0, np.nan, 1.0]]), r"NaN or infinite at 1 points, first at index 0"),
    ],
)
def test_a_doubtful_colour_is_asked_about(color: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_point_cloud({"coord": np.zeros((1, 3)), "color": color})


def test_a_given_colour_range_reaches_files_and_leaves_clouds_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", coord=np.zeros((2, 3)), color=np.array([[0, 0.5, 1.5]] * 2))
    cloud = to_point_cloud(tmp_path / "a.npz", color_range=(0, 2))
    assert cloud.color[0].tolist() == [0, 0.25, 0.75]
    assert torch.equal(to_point_cloud(cloud, color_range=(0, 255)).color, cloud.color)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint8])
def test_unsigned_tensors_are_read(dtype: torch.dtype) -> None:
    color = torch.tensor([[0, 51, 255]]).to(dtype)
    cloud = to_point_cloud({"coord": torch.zeros(1, 3), "color": color})
    assert torch.allclose(cloud.color, torch.tensor([[0, 0.2, 1.0]]))


def test_a_colour_outside_the_range_given_is_refused() -> None:
    with pytest.raises(InputError, match=r"outside the color_range of \(0, 1\)"):
        to_point_cloud(np.full((4, 6), 7.0), color_range=(0, 1))
    with pytest.raises(InputError, match="the second must be the larger"):
        to_point_cloud(np.full((4, 6), 7.0), color_range=(1, 1))


def test_normals_get_unit_length_and_nan_becomes_zero_with_one_warning() -> None:
    normal = np.array([[0, 0, 2.0], [0, 0, 0], [np.nan, 0, 1], [np.inf, 0, 0]])
    with pytest.warns(ConcertoWarning, match="2 of 4 normals are NaN or infinite") as caught:
        cloud = to_point_cloud({"coord": np.zeros((4, 3)), "normal": normal})
    assert len(caught) == 1
    assert cloud.normal.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8])
def test_masked_coordinates_are_nan_and_others_stay(dtype: type) -> None:
    mask = np.zeros((4, 3), bool)
    coord = np.ma.array(np.full((4, 3), 99, dtype), mask=mask)
    assert torch.equal(to_point_cloud(coord).coord, to_point_cloud(coord.data).coord)
    coord[2, 1] = np.ma.masked
    given = np.ma.hstack([coord, np.ma.array(np.zeros((4, 3), dtype))])
    for points in (coord, given, {"coord": coord}, SimpleNamespace(pos=coord)):
        cloud = to_point_cloud(points)
        assert cloud.coord.isnan().nonzero().tolist() == [[2, 1]]
        assert cloud.coord.nan_to_num(99).eq(99).all()


def test_masked_points_are_left_out_or_asked_about(model: concerto.Concerto) -> None:
    hidden = np.zeros(XYZ.shape, bool)
    hidden[5] = True
    points = np.ma.array(np.where(hidden, -9999, XYZ), mask=hidden)
    with pytest.raises(InputError, match="NaN or infinite at 1 of 20 points, first at index 5"):
        model(points)
    feats = model(points, drop_invalid=True)
    assert not feats[5].any()
    assert torch.equal(feats[~hidden[:, 0]], model(XYZ[~hidden[:, 0]]))


def test_a_masked_colour_is_asked_about_and_a_masked_normal_unknown() -> None:
    hidden = np.zeros(XYZ.shape, bool)
    hidden[5] = True
    with pytest.raises(InputError, match="color is NaN or infinite at 1 points, first at index 5"):
        to_point_cloud({"coord": XYZ, "color": np.ma.array(RGB, mask=hidden)})
    with pytest.warns(ConcertoWarning, match="1 of 20 normals"):
        cloud = to_point_cloud({"coord": XYZ, "normal": np.ma.array(NORMAL, mask=hidden)})
    assert not cloud.normal[5].any()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((2, 5, 3)), r"shape \(2, 5, 3\).*pass a list"),
        (np.zeros((5, 4)), r"shape \(5, 4\).*reflectance.*points\[:, :3\]"),
        (np.zeros((5, 7)), r"shape \(5, 7\).*\(N, 9\)"),
        (np.zeros(9), r"shape \(9,\)"),
        (np.zeros((0, 3)), "no points"),
        (np.zeros((5, 3), complex), "complex.*real numbers"),
        (np.zeros((5, 3), bool), "bool.*real numbers"),
        (np.array([["a", "b", "c"]]), "real numbers"),
        (np.array([[None, 1, 2]], object), "object.*real numbers"),
        (torch.zeros(5, 3, dtype=torch.complex64), "complex.*real numbers"),
        ({"coord": np.zeros((5, 3)), "color": np.zeros((4, 3))}, "5 points, but color has 4"),
        ({"coord": np.zeros((5, 3)), "normal": np.zeros((5, 2))}, r"normal has shape \(5, 2\)"),
        ({"xyz": np.zeros((5, 3))}, "called 'xyz' here is 'coord' to a model"),
        (
            {"coord": np.zeros((5, 3)), "rgb": np.zeros((5, 3))},
            "called 'rgb' here is 'color'",
        ),
        ({"coord": [[0, 1, 2], [0, 1]]}, "its rows differ in length"),
        ({"coord": torch.eye(3).to_sparse()}, r"sparse tensor; pass coord\.to_dense"),
        (torch.ones(5, 6).to_sparse(), r"points is a sparse tensor; pass points\.to_dense"),
        ({"coord": XYZ, "color": torch.ones(20, 3).to_sparse()}, "color is a sparse tensor"),
        (torch.ones(5, 6, device="meta"), "points is on the meta device"),
        ({"coord": torch.ones(5, 3, device="meta")}, "coord is on the meta device"),
        ({"coord": XYZ, "normal": torch.ones(20, 3, device="meta")}, "normal is on the meta"),
        ({"label": np.zeros(5)}, "has coord, and optionally color and normal; this one has label"),
        (3.5, "Cannot read points from float"),
        (None, "Cannot read points from NoneType"),
        ([[0.0, 1.0, 2.0]], "Cannot read points from list"),
    ],
)
def test_what_cannot_be_points_says_what_to_pass(points: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_point_cloud(points)


@given(
    arrays(
        st.sampled_from([np.float64, np.float16, np.int8, np.uint8, np.complex64, np.bool_]),
        array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=10),
    )
)
def test_any_array_is_a_cloud_or_one_of_our_errors(array: np.ndarray) -> None:
    try:
        with np.errstate(all="ignore"):
            cloud = to_point_cloud(np.nan_to_num(array) if array.dtype.kind == "f" else array)
    except ConcertoError:
        return
    assert isinstance(cloud, PointCloud)
    assert len(cloud) == len(array) > 0
    assert cloud.color is None or 0 <= cloud.color.min() <= cloud.color.max() <= 1.001


@pytest.mark.parametrize(
    "points",
    [
        SimpleNamespace(coord=XYZ, colors=RGB),
        SimpleNamespace(pos=XYZ, rgb=RGB),
        {"coord": XYZ, "normals": NORMAL},
        {"coord": XYZ, "feat": np.zeros((20, 9))},
    ],
)
def test_a_field_under_another_name_is_not_dropped_in_silence(points: object) -> None:
    with pytest.raises(InputError, match=r"rename it|without grid_coord"):
        to_point_cloud(points)


@pytest.mark.parametrize(
    "given",
    [
        *(255, "255", (0, 1, 2), (1, 0), (0, None), (), 0, [[0, 1]], (0, 10**400)),
        *((0, np.inf), (-np.inf, 0), (np.nan, 1), (-1e308, 1e308), (0, 1e-60)),
        *(np.array([1, 0]), np.zeros((2, 2)), torch.tensor([0, torch.nan]), torch.tensor(255)),
    ],
    ids=str,
)
@pytest.mark.parametrize("points", [np.zeros((4, 6)), XYZ, CLOUD], ids=["rgb", "xyz", "cloud"])
def test_a_colour_range_that_is_none_is_refused_even_without_colours(
    points: object, given: object
) -> None:
    with pytest.raises(InputError, match="color_range is"):
        to_point_cloud(points, color_range=given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [(np.float32(0), np.int64(100)), [0, 100], np.array([0, 100]), torch.tensor([0, 100.0])],
    ids=["numbers", "list", "array", "tensor"],
)
def test_a_colour_range_may_come_from_numpy_or_torch(tmp_path: Path, given: object) -> None:
    points = np.hstack([XYZ, RGB * 100])
    np.save(tmp_path / "a.npy", points)
    for held in (points, tmp_path / "a.npy"):
        cloud = to_point_cloud(held, color_range=given)  # type: ignore[arg-type]
        assert torch.allclose(cloud.color, CLOUD.color, atol=1e-5)


def test_a_bad_colour_range_is_not_the_fault_of_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", XYZ)
    with pytest.raises(InputError, match=r"^color_range is \(255, 0\)"):
        concerto.read(tmp_path / "a.npy", color_range=(255, 0))
