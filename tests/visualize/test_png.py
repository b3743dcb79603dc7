"""What the picture of a cloud promises."""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from concerto.errors import InputError
from concerto.points.point_cloud import PointCloud
from concerto.visualize import drawable
from concerto.visualize.png import render, write_png

SIZE = (240, 180)
RED, GREEN, BLUE, GREY = [0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.9], [0.6, 0.6, 0.6]


def box(low, high, count, seed=0):
    """(count, 3): random points on the surface of an axis-aligned box."""
    rng = np.random.default_rng(seed)
    low, high = np.array(low, float), np.array(high, float)
    sides = high - low
    areas = np.repeat([sides[1] * sides[2], sides[0] * sides[2], sides[0] * sides[1]], 2)
    face = rng.choice(6, count, p=areas / areas.sum())
    points = rng.random((count, 3))
    points[np.arange(count), face // 2] = face % 2
    return low + points * sides


def cloud_of(*parts):
    """One cloud of (points (n, 3), colour (3,)) parts."""
    coord = np.concatenate([points for points, _ in parts])
    color = np.concatenate([np.tile(color, (len(points), 1)) for points, color in parts])
    return PointCloud(torch.from_numpy(coord), torch.from_numpy(color).float())


@cache
def room(ceiling=True, table=BLUE):
    """A room of 5 x 4 x 2.6 m, walls grey, floor green, ceiling red, and a table in its middle."""
    walls = box([0, 0, 0], [5, 4, 2.6], 30_000)
    colors = [
        (walls[(walls[:, 2] > 0) & (walls[:, 2] < 2.6)], GREY),
        (walls[walls[:, 2] == 0], GREEN),
    ]
    if ceiling:
        colors.append((walls[walls[:, 2] == 2.6], RED))
    return cloud_of(*colors, (box([1.5, 1.2, 0.7], [3.5, 2.8, 0.75], 10_000), table))


@cache
def picture(cloud, size=SIZE):
    return np.asarray(render(cloud, size=size)).astype(int)


def drawn(pixels):
    """(H, W) bool: where something was drawn."""
    return (pixels < 250).any(2)


def share_of(pixels, channel):
    """The share of drawn pixels in which one channel stands out."""
    others = np.delete(pixels, channel, axis=2).max(2)
    return ((pixels[..., channel] > 2 * others) & drawn(pixels)).sum() / drawn(pixels).sum()


def extent(pixels):
    """The share of the frame's width and of its height that the drawing spans."""
    rows, columns = np.nonzero(drawn(pixels))
    height, width = pixels.shape[:2]
    return (np.ptp(columns) + 1) / width, (np.ptp(rows) + 1) / height


def test_picture_is_rgb_of_the_size_asked_for_on_white():
    image = render(cloud_of((box([0, 0, 0], [1, 1, 1], 5000), GREY)), size=(200, 100))
    assert (image.mode, image.size) == ("RGB", (200, 100))
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_z_is_up():
    points = box([0, 0, 0], [1, 1, 1], 10_000)
    upper = points[:, 2] > 0.5
    pixels = picture(cloud_of((points[upper], RED), (points[~upper], BLUE)))
    rows = np.arange(SIZE[1])[:, None] * np.ones(SIZE[0], int)
    red = rows[pixels[..., 0] > 2 * pixels[..., 2]]
    blue = rows[pixels[..., 2] > 2 * pixels[..., 0]]
    assert len(red) > 1000
    assert len(blue) > 1000
    assert red.mean() < blue.mean() - 30


def test_picture_is_not_mirrored():
    # Of three posts, red, green, blue run counterclockwise seen from above, so from any side that
    # sees one of them nearest, the next one counterclockwise stands to its right.
    angles = np.radians([90, 210, 330])
    posts = [
        (box([np.cos(a), np.sin(a), 0], [np.cos(a) + 0.1, np.sin(a) + 0.1, 0.8], 3000), color)
        for a, color in zip(angles, (RED, GREEN, BLUE), strict=True)
    ]
    pixels = picture(cloud_of(*posts))
    places = []
    for channel in range(3):
        others = np.delete(pixels, channel, axis=2).max(2)
        places.append(np.argwhere(pixels[..., channel] > 2 * others).mean(0))
    (r0, c0), (r1, c1), (r2, c2) = places
    # Image rows run down: counterclockwise on the floor is a negative area in (column, row).
    assert (c1 - c0) * (r2 - r0) - (r1 - r0) * (c2 - c0) < -1000


def test_nearer_points_hide_farther_ones():
    inner = box([0.3, 0.3, 0.3], [0.7, 0.7, 0.7], 10_000)
    outer = box([0, 0, 0], [1, 1, 1], 40_000)
    pixels = picture(cloud_of((inner, RED), (outer, BLUE)))
    assert share_of(pixels, 0) < 0.005
    assert share_of(pixels, 2) > 0.9


@pytest.mark.parametrize("size", [(240, 180), (180, 240), (360, 120)])
@pytest.mark.parametrize("sides", [(1, 1, 1), (5, 1, 0.5), (0.2, 0.2, 3), (4, 4, 0)])
def test_scan_fills_the_frame_and_stays_inside(size, sides):
    pixels = picture(cloud_of((box([0, 0, 0], sides, 10_000), GREY)), size)
    assert 0.85 < max(extent(pixels)) < 1
    assert not drawn(pixels)[[0, -1]].any()
    assert not drawn(pixels)[:, [0, -1]].any()


def test_surface_is_closed():
    pixels = picture(cloud_of((box([0, 0, 0], [1, 1, 1], 8000), GREY)))
    columns = [np.flatnonzero(column) for column in drawn(pixels).T if column.any()]
    filled = sum(map(len, columns)) / sum(np.ptp(rows) + 1 for rows in columns)
    assert filled > 0.995


def test_a_few_strays_do_not_shrink_the_scan():
    points = box([0, 0, 0], [1, 1, 1], 10_000)
    strays = np.random.default_rng(1).normal(size=(20, 3)) * 500
    clean = picture(cloud_of((points, GREY)))
    strayed = picture(cloud_of((points, GREY), (strays, RED)))
    assert drawn(strayed).sum() > 0.9 * drawn(clean).sum()


def test_sparse_rim_of_a_scan_is_in_the_frame():
    dense = box([0, 0, 0], [1, 1, 0.2], 10_000)
    rim = box([1, 0.3, 0.2], [1.3, 0.7, 0.2], 100)
    pixels = picture(cloud_of((dense, GREY), (rim, RED)))
    assert share_of(pixels, 0) > 0.01
    assert not drawn(pixels)[:, [0, -1]].any()


def test_ceiling_is_cut_away_and_the_table_below_is_seen():
    pixels = picture(room())
    assert share_of(pixels, 0) < 0.001
    assert share_of(pixels, 1) > 0.2
    assert share_of(pixels, 2) > 0.08


def test_near_walls_are_cut_away_without_a_ceiling_too():
    with_ceiling, without = picture(room()), picture(room(ceiling=False))
    assert share_of(without, 2) > 0.9 * share_of(with_ceiling, 2)
    assert share_of(without, 1) > 0.9 * share_of(with_ceiling, 1)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_a_closed_object_keeps_its_top(scale):
    cloud = room()
    cloud = PointCloud(cloud.coord * scale, cloud.color)
    assert share_of(picture(cloud), 0) > 0.3


def test_a_top_on_legs_without_a_floor_is_no_ceiling():
    top = box([0, 0, 2.4], [4, 4, 2.5], 10_000)
    legs = [box([x, y, 0], [x + 0.1, y + 0.1, 2.4], 1000) for x in (0, 3.9) for y in (0, 3.9)]
    pixels = picture(cloud_of((top, RED), *((leg, GREEN) for leg in legs)))
    assert share_of(pixels, 0) > 0.5
    assert share_of(pixels, 1) > 0.01


def test_shape_is_legible_in_one_colour():
    # Creases and outlines are darker than faces. Unshaded, no pixel is darker than the points.
    plate = box([0, 0, 0], [2, 2, 0], 10_000)
    pixels = picture(cloud_of((plate, GREY), (box([0.7, 0.7, 0], [1.3, 1.3, 1], 10_000), GREY)))
    light = pixels[drawn(pixels)][:, 0]
    assert np.quantile(light, 0.03) < 0.7 * np.median(light)
    assert np.median(light) > 0.6 * 255 * GREY[0]


def test_points_without_colour_are_shaded_by_height():
    coord = torch.from_numpy(box([0, 0, 0], [1, 1, 3], 10_000))
    pixels = picture(PointCloud(coord))
    rows = np.flatnonzero(drawn(pixels).any(1))
    top, bottom = (pixels[part][drawn(pixels)[part]].mean(0) for part in (rows[:40], rows[-40:]))
    assert top[0] > top[2] + 40
    assert bottom[2] > bottom[0] + 20


def test_same_cloud_gives_the_same_picture():
    assert np.array_equal(np.asarray(render(room(), size=SIZE)), picture(room()))


def test_large_coordinates_lose_nothing():
    points = box([0, 0, 0], [1, 1, 1], 10_000)
    far = points + np.array([500_000.0, 5_000_000.0, 300.0])
    near, far = picture(cloud_of((points, GREY))), picture(cloud_of((far, GREY)))
    assert (np.abs(near - far).max(2) > 20).mean() < 0.005


def test_extents_of_thousands_are_drawn():
    pixels = picture(cloud_of((box([0, 0, 0], [4000, 3000, 200], 10_000), GREY)))
    assert drawn(pixels).mean() > 0.3


@pytest.mark.parametrize(
    "coord",
    [
        [[1.0, 2.0, 3.0]],
        [[1.0, 2.0, 3.0]] * 2,
        [[5e6, 5e6, 100.0]] * 3,
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
        [[0.0, 0.0, z] for z in np.linspace(0, 1, 50)],
        [[x, x, 0.0] for x in np.linspace(0, 3000, 50)],
        [[x, y, 0.0] for x in np.linspace(0, 1, 30) for y in np.linspace(0, 1, 30)],
    ],
    ids=["one", "two equal", "equal far off", "two", "upright line", "long line", "plane"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_clouds_are_drawn_near_the_middle(coord, dtype):
    pixels = picture(PointCloud(torch.tensor(coord, dtype=dtype)))
    rows, columns = np.nonzero(drawn(pixels))
    assert len(rows) >= 9
    assert (rows.min() + rows.max()) / 2 == pytest.approx(SIZE[1] / 2, abs=12)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(SIZE[0] / 2, abs=12)


def test_points_with_nan_are_left_out():
    cloud = room()
    broken = torch.full((5, 3), float("nan"), dtype=torch.float64)
    with_nan = PointCloud(
        torch.cat([cloud.coord, broken]), torch.cat([cloud.color, torch.ones(5, 3)])
    )
    assert np.array_equal(picture(with_nan), picture(cloud))


def test_nothing_to_draw_is_an_error():
    with pytest.raises(InputError, match="none has finite coordinates"):
        render(PointCloud(torch.full((3, 3), float("inf"))))
    with pytest.raises(InputError, match="nothing to draw"):
        render(PointCloud(torch.zeros(0, 3)))


@pytest.mark.parametrize("far", [2e30, 1e160, 1e308])
def test_points_as_good_as_infinitely_far_are_left_out(far):
    cloud = room()
    strays = torch.tensor([[far, 0, 0], [0, -far, 0], [far, far, far]], dtype=torch.float64)
    strayed = PointCloud(
        torch.cat([cloud.coord, strays]), torch.cat([cloud.color, torch.ones(3, 3)])
    )
    assert np.array_equal(picture(strayed), picture(cloud))
    with pytest.raises(InputError, match=r"none has finite coordinates, up to 1e\+30"):
        render(PointCloud(strays))


def test_the_farthest_points_that_are_drawn_are_drawn():
    cloud = cloud_of((box([-1e30, -1e30, -1e30], [1e30, 1e30, 1e30], 10_000), GREY))
    assert 0.85 < max(extent(picture(cloud))) < 1


def test_size_must_be_positive():
    with pytest.raises(InputError, match=r"size is \(0, 10\)"):
        render(PointCloud(torch.zeros(1, 3)), size=(0, 10))


def test_large_clouds_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr(drawable, "MOST_POINTS", 1000)
    rows = drawable.drawn_rows(PointCloud(torch.zeros(2500, 3)))
    assert len(rows) == 1000
    assert set(rows.diff().tolist()) == {2, 3}


def test_written_file_holds_the_rendered_picture(tmp_path):
    cloud = cloud_of((box([0, 0, 0], [1, 1, 1], 2000), GREY))
    write_png(tmp_path / "new" / "cube.png", cloud, size=SIZE)
    with Image.open(tmp_path / "new" / "cube.png") as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), picture(cloud))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["cube.png"]
