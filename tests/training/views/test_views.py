"""Views are what the recipe says, match each other and their images, and repeat bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from concerto.errors import ConfigError, InputError
from concerto.training.scenes.samples import Sample, SampleViews, View, collate
from concerto.training.views import augment, crops
from concerto.training.views.crops import ViewConfig, make_views

CONFIG = ViewConfig(most_points=1500, image_size=56)
HEIGHT, WIDTH = 60, 80


def room(points: int = 4000, images: int = 3) -> Sample:
    """Points on three walls; colours and normals that tell them apart; images of half of them."""
    random = np.random.default_rng(0)
    coord = random.uniform(0, 1.5, (points, 3)).astype(np.float32)
    coord[np.arange(points), random.integers(0, 3, points)] = 0
    normal = random.normal(size=(points, 3))
    seen = [random.permutation(points)[: points // 2 + 1] for _ in range(images)]
    return Sample(
        name="room 7",
        coord=coord,
        color=random.integers(1, 256, (points, 3), dtype=np.uint8),
        normal=(normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
        images=tuple(
            random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(images)
        ),
        seen=tuple(
            np.stack(
                [random.integers(0, WIDTH, len(s)), random.integers(0, HEIGHT, len(s)), s], axis=1
            )
            for s in seen
        ),
    )


def all_views(made: SampleViews) -> tuple[View, ...]:
    return (made.principal, made.second, *made.local)


def parts(value: Any) -> Iterator[Any]:
    """Everything in nested dataclasses and tuples."""
    if is_dataclass(value):
        value = tuple(getattr(value, field.name) for field in fields(value))
    if isinstance(value, tuple):
        for one in value:
            yield from parts(one)
    else:
        yield value


def same(first: Any, second: Any) -> bool:
    pairs = zip(parts(first), parts(second), strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def points_of(view: View, sample: Sample) -> np.ndarray:
    """The rows of the sample that a view's rows are, by their coordinates, which all differ."""
    rows = {tuple(point): row for row, point in enumerate(sample.coord.tolist())}
    assert len(rows) == len(sample.coord)
    return np.array([rows[tuple(point)] for point in view.origin_coord.tolist()])


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    sample = room()
    assert same(make_views(sample, CONFIG, 5), make_views(sample, CONFIG, 5))
    first, other = make_views(sample, CONFIG, 5), make_views(sample, CONFIG, 6)
    for one, two in zip(all_views(first), all_views(other), strict=True):
        assert not same(one, two)


def test_the_number_of_threads_changes_no_bit() -> None:
    sample, threads = room(40_000), torch.get_num_threads()
    config = replace(CONFIG, most_points=40_000, image_size=392)
    try:
        torch.set_num_threads(1)
        alone = make_views(sample, config, 1)
        torch.set_num_threads(3)
        assert same(alone, make_views(sample, config, 1))
    finally:
        torch.set_num_threads(threads)


def test_what_one_part_draws_leaves_the_others_alone() -> None:
    sample = room()
    made = make_views(sample, CONFIG, 3)
    fewer = make_views(sample, replace(CONFIG, local_views=2, augment_images=False), 3)
    assert same(made.principal, fewer.principal)
    assert same(made.second, fewer.second)
    assert same(made.local[:2], fewer.local)
    assert same(made.pixels[:4], fewer.pixels)
    assert not same(made.images, fewer.images)


def test_types_and_shapes_are_those_of_the_contract() -> None:
    made = make_views(room(), CONFIG, 2**63 - 1)
    assert (made.name, made.seed, len(made.local)) == ("room 7", 2**63 - 1, 4)
    for view in all_views(made):
        rows = len(view.feat)
        assert (view.feat.shape, view.feat.dtype) == ((rows, 9), torch.float32)
        assert (view.grid_coord.shape, view.grid_coord.dtype) == ((rows, 3), torch.int64)
        assert (view.origin_coord.shape, view.origin_coord.dtype) == ((rows, 3), torch.float32)
    assert (made.images.shape, made.images.dtype) == ((3, 3, 56, 56), torch.float32)
    for view, pixels in zip(all_views(made), made.pixels, strict=True):
        assert (pixels.shape, pixels.dtype) == ((len(view.feat), 3, 2), torch.float32)
    batch = collate([made, make_views(room(images=0), CONFIG, 1)])
    assert batch.image_counts == (3, 0)
    assert batch.global_pixels.shape == (len(batch.global_views.feat), 3, 2)
    assert batch.local_pixels.shape == (len(batch.local_views.feat), 3, 2)


@settings(max_examples=60)
@given(points=st.integers(1, 300), most=st.integers(1, 400), seed=st.integers(0, 2**63 - 1))
def test_any_cloud_gives_views_of_one_row_a_voxel(points: int, most: int, seed: int) -> None:
    sample = room(points, images=2)
    made = make_views(sample, replace(CONFIG, most_points=most), seed)
    for view in all_views(made):
        assert 1 <= len(view.feat) <= min(most, points)
        assert len(view.grid_coord.unique(dim=0)) == len(view.feat)
        assert view.grid_coord.amin(0).tolist() == [0, 0, 0]
        assert view.feat[:, 3:6].min() >= 0
        assert view.feat[:, 3:6].max() <= 1
        # Voxels begin at the least coordinates, be their point still in the view or not.
        origin = view.feat[:, :3] / 0.02 - view.grid_coord
        assert (origin.amax(0) - origin.amin(0)).max() < 1.001
        points_of(view, sample)


@pytest.mark.usefixtures("plain")
def test_a_row_is_one_point_in_all_its_values() -> None:
    sample = room()
    made = make_views(sample, CONFIG, 1)
    for view in all_views(made):
        rows = points_of(view, sample)
        assert torch.equal(view.feat[:, :3], view.origin_coord)
        assert view.feat[:, 3:6].numpy() == pytest.approx(sample.color[rows] / 255)
        assert (view.feat[:, 6:].numpy() == sample.normal[rows]).all()


def test_pixels_are_those_of_the_views_rows() -> None:
    sample = room()
    made = make_views(sample, CONFIG, 1)
    for view, pixels in zip(all_views(made), made.pixels, strict=True):
        rows = points_of(view, sample)
        for number, seen in enumerate(sample.seen):
            places = {point: (x, y) for x, y, point in seen.tolist()}
            for row, (down, right) in zip(rows, pixels[:, number].tolist(), strict=True):
                # 60 x 80 pixels hold a square of 60, 15 a patch, from column 10 on.
                x, y = places.get(row, (0, 0))
                if row in places and 10 <= x < 70:
                    assert (down, right) == pytest.approx(((y + 0.5) / 15, (x + 0.5 - 10) / 15))
                else:
                    assert (down, right) == (-1, -1)


def test_images_show_at_a_rows_pixel_what_they_show_of_its_point() -> None:
    sample = room(images=1)
    x, y, point = sample.seen[0].T
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = 3 * np.arange(WIDTH)
    image[..., 1] = 4 * np.arange(HEIGHT)[:, None]
    sample = replace(sample, images=(image,))
    config = replace(CONFIG, augment_images=False, image_size=448, patch_size=112)
    made = make_views(sample, config, 0)
    pixels = made.pixels[0]
    seen = (pixels[:, 0, 0] >= 0).numpy()
    row, column = (pixels[seen, 0] * 112).long().unbind(1)
    shown = made.images[0, :2, row, column].T.numpy() * 255
    place = dict(zip(point.tolist(), zip(x, y, strict=True), strict=True))
    wanted = np.array([place[one] for one in points_of(made.principal, sample)[seen]]) * (3, 4)
    assert seen.sum() > 100
    assert abs(shown - wanted).max() < 3


def test_only_images_that_see_the_principal_view_are_kept() -> None:
    sample = room(images=4)
    far = sample.coord.sum(1).argmax()
    left_edge = sample.seen[2].copy()
    left_edge[:, 0] = 0  # cut off
    nothing = np.zeros((0, 3), np.int64)
    sample = replace(
        sample, seen=(nothing, sample.seen[1], left_edge, np.array([[40, 30, int(far)]]))
    )
    config = replace(CONFIG, most_points=300, augment_images=False)
    kept = replace(sample, images=sample.images[1:2], seen=sample.seen[1:2])
    seen_by_one = 0
    for seed in range(8):
        made = make_views(sample, config, seed)
        if far not in points_of(made.principal, sample):
            seen_by_one += 1
            assert same(made.images, make_views(kept, config, seed).images)
            assert {pixels.shape[1] for pixels in made.pixels} == {1}
    assert seen_by_one


def test_a_sample_whose_images_see_nothing_is_one_without_images() -> None:
    sample = replace(room(images=2), seen=(np.zeros((0, 3), np.int64),) * 2)
    made = make_views(sample, CONFIG, 0)
    assert made.images.shape == (0, 3, 56, 56)
    assert made.pixels[0].shape == (len(made.principal.feat), 0, 2)


def test_without_use_images_nobody_looks_at_them() -> None:
    sample = room(images=1)
    broken = replace(sample, images=(np.zeros((1, 1)),))
    config = replace(CONFIG, use_images=False)
    bare = replace(sample, images=(), seen=())
    assert same(make_views(broken, config, 4), make_views(bare, config, 4))


def test_points_without_normals_keep_zeros() -> None:
    sample = room()
    made = make_views(replace(sample, normal=np.zeros_like(sample.normal)), CONFIG, 0)
    assert all((view.feat[:, 6:] == 0).all() for view in all_views(made))


@pytest.mark.usefixtures("plain")
def test_a_voxel_of_the_sample_gives_any_of_its_points() -> None:
    coord = np.random.default_rng(0).uniform(0, 0.019, (4, 3)).astype(np.float32)
    coord[0] = 0
    sample = Sample("one voxel", coord, np.zeros((4, 3), np.uint8), np.zeros_like(coord))
    chosen = [
        int(points_of(make_views(sample, CONFIG, seed).principal, sample)[0]) for seed in range(300)
    ]
    counts = np.bincount(chosen, minlength=4)
    assert all(binomtest(int(count), 300, 0.25).pvalue > 1e-4 for count in counts)


def colors_by_point(view: View, sample: Sample) -> dict[int, list[float]]:
    rows = points_of(view, sample).tolist()
    return dict(zip(rows, view.feat[:, 3:6].tolist(), strict=True))


def test_global_views_share_their_colors_and_local_views_have_their_own() -> None:
    sample = room()
    made = make_views(sample, replace(CONFIG, drops=False), 0)
    principal, *others = (colors_by_point(view, sample) for view in all_views(made))
    agreeing = []
    for other in others:
        common = principal.keys() & other.keys()
        assert len(common) > 20
        agreeing.append(all(principal[row] == other[row] for row in common))
    assert agreeing == [True, False, False, False, False]


def test_colors_and_normals_drop_each_on_its_own_and_for_all_views_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crops, "augment_color", lambda color, _: color)
    sample, draws, config = room(100, images=0), 250, replace(CONFIG, local_views=1)
    whole = np.zeros((draws, 2))
    for seed in range(draws):
        made = make_views(sample, config, seed)
        dropped = torch.cat(
            [
                (view.feat[:, 3:].view(-1, 2, 3) == 0).all(2).double().mean(0, keepdim=True)
                for view in all_views(made)
            ]
        )
        whole[seed] = (dropped == 1).all(0)
        assert ((dropped == 1).all(0) | (dropped < 0.9).any(0)).all()
    color, normal = whole.T
    for count, p in ((color.sum(), 0.2), (normal.sum(), 0.2), ((color * normal).sum(), 0.04)):
        assert binomtest(int(count), draws, p).pvalue > 1e-4


def test_dropped_colors_are_still_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "DROP_ALL", 1)
    seen = set()
    for seed in range(10):
        made = make_views(room(200), CONFIG, seed)
        color = made.principal.feat[:, 3:6]
        assert (color == color[0]).all()
        assert color.max() <= 0.05
        assert (made.principal.feat[:, 6:] == 0).all()
        seen.add(tuple(color[0].tolist()))
    assert len(seen) > 5


def test_without_drops_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "DROP_ALL", 1)
    made = make_views(room(), replace(CONFIG, drops=False), 0)
    assert all((view.feat[:, 3:].abs().sum(1) > 0).all() for view in all_views(made))


def test_a_broken_sample_is_refused_by_name() -> None:
    sample = replace(room(), coord=np.full((4000, 3), np.nan, np.float32))
    with pytest.raises(InputError, match="'room 7' has NaN"):
        make_views(sample, CONFIG, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"grid_size": 0.0},
        {"most_points": 0},
        {"local_views": 0},
        {"second_size": (0.5, 0.4)},
        {"local_size": (0.0, 0.4)},
        {"local_size": (0.1, 1.4)},
        {"image_size": 500},
    ],
)
def test_a_config_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ViewConfig(**wrong)
