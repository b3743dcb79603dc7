"""A frame sees the points that its depth shows, in the pixels where they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from concerto.lifting.fusion import Lifter
from concerto.lifting.layouts import open_recording
from concerto.lifting.visibility import visible
from recordings import CAMERA, SHAPE, VIEWS, record

FRAME = record(VIEWS[0])


def world(depth: np.ndarray) -> np.ndarray:
    """The points that pixels of this depth (h, w) are in the world."""
    row, column = np.indices(SHAPE).reshape(2, -1)
    z = depth.ravel()
    local = np.stack([(column - CAMERA.cx) / CAMERA.fx * z, (row - CAMERA.cy) / CAMERA.fy * z, z])
    return local.T @ FRAME.pose[:3, :3].T + FRAME.pose[:3, 3]


def test_every_point_that_was_measured_is_seen_in_its_pixel() -> None:
    row, column = np.indices(SHAPE).reshape(2, -1)
    seen = visible(world(FRAME.depth), FRAME)
    np.testing.assert_array_equal(seen, np.stack([column, row, np.arange(len(row))], axis=1))
    assert seen.dtype == np.int64


def test_what_lies_behind_or_before_a_surface_is_not_seen() -> None:
    for shift in (-0.2, 0.2):
        assert not len(visible(world(FRAME.depth + np.float32(shift)), FRAME, tolerance=0.1))
    assert len(visible(world(FRAME.depth + np.float32(0.02)), FRAME, tolerance=0.1))


def test_what_lies_behind_the_camera_or_beside_the_image_is_not_seen() -> None:
    behind = 2 * FRAME.pose[:3, 3] - world(FRAME.depth)
    assert not len(visible(behind, FRAME))
    beside = world(FRAME.depth) + 100 * FRAME.pose[:3, 0]
    assert not len(visible(beside, FRAME))


def test_nothing_is_seen_where_nothing_was_measured() -> None:
    depth = FRAME.depth.copy()
    depth[:, :48] = 0
    seen = visible(world(FRAME.depth), replace(FRAME, depth=depth))
    assert len(seen) == 48 * 72
    assert seen[:, 0].min() == 48


def test_pixels_are_those_of_the_colour_image() -> None:
    large = replace(FRAME.camera, fx=140.0, fy=140.0, cx=95.5, cy=71.5)
    frame = replace(FRAME, color=FRAME.color.repeat(2, 0).repeat(2, 1), camera=large)
    seen = visible(world(FRAME.depth), frame)
    assert len(seen) == 72 * 96
    assert (seen[:, 0] // 2 == seen[:, 2] % 96).all()
    assert (seen[:, 1] // 2 == seen[:, 2] // 96).all()


def test_the_points_a_real_frame_sees_have_the_colours_of_its_pixels(shared: Path) -> None:
    recording = open_recording(shared / "data" / "kitchen")
    lifter = Lifter()
    for files in recording.frames[::8]:
        lifter.add(recording.read(files))
    cloud = lifter.cloud()
    color = cloud.color.numpy() * 255
    for files in recording.frames[4::32]:
        frame = recording.read(files)
        seen = visible(cloud.coord.numpy(), frame)
        pixel = frame.color[seen[:, 1], seen[:, 0]]
        off = np.median(np.abs(pixel - color[seen[:, 2]]))
        shuffled = np.random.default_rng(0).permutation(seen[:, 2])
        chance = np.median(np.abs(pixel - color[shuffled]))
        assert len(seen) > 10_000
        assert off < 0.5 * chance
