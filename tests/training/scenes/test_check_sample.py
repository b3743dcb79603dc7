"""A sample that cannot be used is refused by name; its arrays are looked at before any work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from concerto.errors import InputError
from concerto.training.scenes.check_sample import check_sample
from concerto.training.scenes.samples import Sample

HEIGHT, WIDTH = 60, 80
NOTHING = np.zeros((0, 3))


def room(images: int = 2) -> Sample:
    """400 points and some images."""
    random = np.random.default_rng(0)
    return Sample(
        name="room 7",
        coord=random.random((400, 3), dtype=np.float32),
        color=random.integers(0, 256, (400, 3), dtype=np.uint8),
        normal=np.zeros((400, 3), np.float32),
        images=(np.zeros((HEIGHT, WIDTH, 3), np.uint8),) * images,
        seen=(np.array([[0, 0, 0], [WIDTH - 1, HEIGHT - 1, 399]]),) * images,
    )


def changed(sample: Sample, name: str, at: tuple[int, ...], value: float) -> Sample:
    array = getattr(sample, name).copy()
    array[at] = value
    return replace(sample, **{name: array})


def with_seen(row: tuple[int, int, int]) -> Sample:
    return replace(room(images=1), seen=(np.array([[1, 2, 3], row]),))


@pytest.mark.parametrize(
    ("sample", "trouble"),
    [
        (Sample("room 7", NOTHING, NOTHING, NOTHING), "no points"),
        (changed(room(), "coord", (5, 1), np.nan), "infinite coord at 1 of 400 .* index 5"),
        (changed(room(), "coord", (0, 0), np.inf), "infinite coord at 1 of 400 .* index 0"),
        (changed(room(), "normal", (9, 2), np.nan), "infinite normal at 1 of 400 .* index 9"),
        (changed(room(), "coord", (0, 0), 3e3), "spans 3000 m; at most 655.36 m"),
        (replace(room(), color=np.zeros((400, 3))), "float64 colours"),
        (replace(room(), color=np.zeros((9, 3), np.uint8)), r"color of shape \(9, 3\)"),
        (replace(room(), normal=np.zeros((400, 2))), r"normal of shape \(400, 2\)"),
        (replace(room(), seen=room().seen[:1]), "2 images and 1 lists"),
        (with_seen((1, 2, 400)), r"1 rows of seen\[0\] outside .* first row 1: \[1, 2, 400\]"),
        (with_seen((1, 2, -1)), "outside"),
        (with_seen((WIDTH, 2, 5)), "outside the image of 80 x 60"),
        (with_seen((1, HEIGHT, 5)), "outside"),
        (replace(room(images=1), seen=(np.zeros((4, 3)),)), "float64; .* integers"),
        (replace(room(images=1), seen=(np.zeros((4, 2), int),)), r"shape \(4, 2\)"),
        (replace(room(images=1), images=(np.zeros((9, 9), np.uint8),)), r"shape \(9, 9\)"),
        (replace(room(images=1), images=(np.zeros((60, 80, 3)),)), "float64"),
        (replace(room(images=1), images=(np.zeros((3, 80, 3), np.uint8),)), "80 x 3 pixels"),
        (replace(room(), segment=np.zeros(399, np.int16)), r"segment of shape \(399,\)"),
        (replace(room(), instance=np.zeros(400)), "instance of shape .* float64; .* integers"),
        (replace(room(), segment=np.full(400, -100)), "segment -100; labels are >= 0, and -1"),
    ],
)
def test_a_sample_that_cannot_be_used_is_named_with_its_trouble(
    sample: Sample, trouble: str
) -> None:
    with pytest.raises(InputError, match=rf"'room 7' .*{trouble}"):
        check_sample(sample, grid_size=0.02, patches=4)


def test_a_sound_sample_passes() -> None:
    check_sample(room(), grid_size=0.02, patches=4)
    check_sample(room(images=0), grid_size=0.02, patches=4)
