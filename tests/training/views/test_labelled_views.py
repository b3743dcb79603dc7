"""What a segmenter learns from: voxels with their labels, mixed in pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from concerto import Concerto, ConcertoConfig, InputError
from concerto.training.scenes.samples import Sample
from concerto.training.views import augment, augment_labelled
from concerto.training.views import labelled as labelled_views
from concerto.training.views.labelled import (
    LabelledView,
    LabelledViewConfig,
    collate_labelled,
    make_labelled_view,
)
from conftest import SMALL
from made_samples import labelled

MODEL = ConcertoConfig.preset("tiny")
PLAIN = LabelledViewConfig(augment=False)


def sample(number: int = 1, points: int = 500) -> Sample:
    """Its class is told by its colour."""
    made = labelled(number, points=points).decode()
    assert made.segment is not None
    color = np.repeat(made.segment[:, None] + 1, 3, axis=1).astype(np.uint8) * 60
    return replace(made, color=color)


def views(count: int, config: LabelledViewConfig) -> list[LabelledView]:
    return [make_labelled_view(sample(k), k, config, MODEL) for k in range(count)]


def test_labels_stay_with_their_voxels() -> None:
    augmented = make_labelled_view(sample(), 3, LabelledViewConfig(), MODEL)
    plain = make_labelled_view(sample(), 3, PLAIN, MODEL)
    for view in (augmented, plain):
        assert len(view.feat) == len(view.grid_coord) == len(view.segment)
        assert len(view.grid_coord.unique(dim=0)) == len(view.grid_coord)
        assert (view.grid_coord.min(0).values == 0).all()
    torch.testing.assert_close(plain.feat[:, 3] * 255, (plain.segment + 1) * 60.0)


@pytest.mark.parametrize("center", ["xyz", "xy", "none"])
def test_without_changes_a_view_is_what_the_model_sees(center: str) -> None:
    config = SMALL.replace(coord_scale=0.5, grid_size=0.01, center=center)
    view = make_labelled_view(sample(), 0, PLAIN, config)
    with torch.no_grad():
        hierarchy = Concerto(config).eval().hierarchy(sample().cloud())
    low, high = view.feat[:, :3].aminmax(dim=0)
    wanted_low, wanted_high = hierarchy.levels[0].coord.aminmax(dim=0)
    torch.testing.assert_close(low, wanted_low, atol=0.02, rtol=0)
    torch.testing.assert_close(high, wanted_high, atol=0.02, rtol=0)


@pytest.mark.parametrize("center", ["xyz", "xy", "none"])
def test_changes_leave_a_view_where_the_model_sees_the_scene(center: str) -> None:
    config = SMALL.replace(coord_scale=0.5, center=center)
    far = replace(sample(), coord=sample().coord + np.float32([20, -30, -10]))
    plain = make_labelled_view(far, 0, PLAIN, config)
    for seed in range(4):
        view = make_labelled_view(far, seed, LabelledViewConfig(), config)
        for end, wanted in zip(
            view.feat[:, :3].aminmax(dim=0), plain.feat[:, :3].aminmax(dim=0), strict=True
        ):
            torch.testing.assert_close(end, wanted, atol=1, rtol=0)


def test_changes_are_lengths_that_the_encoder_sees_whatever_the_scale() -> None:
    wanted = make_labelled_view(sample(), 3, LabelledViewConfig(), MODEL)
    for scale in (0.25, 4.0):  # powers of two, by which nothing is rounded
        scaled = replace(sample(), coord=sample().coord / np.float32(scale))
        config = MODEL.replace(coord_scale=scale)
        view = make_labelled_view(scaled, 3, LabelledViewConfig(), config)
        assert torch.equal(view.feat, wanted.feat)
        assert torch.equal(view.segment, wanted.segment)


def test_large_scenes_are_cropped_and_the_seed_decides() -> None:
    config = LabelledViewConfig(most_points=100)
    one, again, other = (make_labelled_view(sample(), seed, config, MODEL) for seed in (1, 1, 2))
    assert len(one.feat) == len(other.feat) == 100
    assert torch.equal(one.feat, again.feat)
    assert not torch.equal(one.feat, other.feat)


def tall_room(bottom: float) -> Sample:
    """A floor of few points, and a dense shelf 2.4 to 2.6 above it; the shelf has class 1."""
    random = np.random.default_rng(0)
    coord = random.uniform([-2, 3, bottom], [2, 7, bottom], (4400, 3))
    coord[400:, 2] += random.uniform(2.4, 2.6, 4000)
    return Sample(
        name="tall",
        coord=np.float32(coord),
        color=random.integers(1, 256, (4400, 3), dtype=np.uint8),
        normal=np.zeros((4400, 3), np.float32),
        images=(),
        seen=(),
        segment=np.repeat([0, 1], [400, 4000]).astype(np.int16),
    )


@pytest.mark.parametrize("changed", [False, True])
def test_a_part_of_a_scene_keeps_its_height_above_the_floor(changed: bool) -> None:
    config = LabelledViewConfig(augment=changed, most_points=200)
    for seed in range(6):
        for center, bottom in (("xyz", 0.0), ("xy", -7.0), ("none", -7.0)):
            view = make_labelled_view(tall_room(-7), seed, config, MODEL.replace(center=center))
            shelf = view.feat[view.segment == 1, 2] - bottom
            assert len(shelf) > 100
            # At most a tenth larger, tilted by 3 degrees over 2 m twice, and distorted.
            assert float(shelf.mean()) == pytest.approx(2.5, abs=0.6 if changed else 0.05)
            x, y = (view.feat[:, :2].amin(0) + view.feat[:, :2].amax(0)).tolist()
            assert center == "none" or (abs(x) < 1e-5 and abs(y) < 1e-5)


def test_changes_tilt_the_floor_and_nothing_puts_it_back_on_zero() -> None:
    heights = []
    for seed in range(40):
        view = make_labelled_view(tall_room(3), seed, LabelledViewConfig(), MODEL)
        heights.append(float(view.feat[view.segment == 0, 2].min()))
    assert np.mean(np.abs(heights) > 0.01) > 0.8
    assert np.abs(heights).max() < 1


def test_a_view_has_a_point_for_every_voxel_that_its_changed_points_fill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved: list[np.ndarray] = []

    def noted(*given: Any) -> tuple[np.ndarray, np.ndarray]:
        coord, normal = augment_labelled.move_labelled(*given)
        moved.append(coord)
        return coord, normal

    monkeypatch.setattr(labelled_views, "move_labelled", noted)
    monkeypatch.setattr(augment, "SCALE", (1, 1))
    monkeypatch.setattr(augment, "DISTORT", 0)
    dense = sample(points=40_000)  # ten a voxel
    dense = replace(dense, coord=dense.coord / 2, segment=np.zeros(40_000, np.int16))
    model = SMALL.replace(grid_size=0.1)
    with torch.no_grad():
        at_test = len(Concerto(model).eval().hierarchy(dense.cloud()).levels[0].feat)
    for seed in range(4):
        view = make_labelled_view(dense, seed, LabelledViewConfig(), model)
        filled = np.unique(np.floor(moved[-1] / np.float32(0.1)), axis=1).shape[1]
        assert len(view.feat) == len(view.grid_coord.unique(dim=0)) == filled
        # A turned block touches more voxels along its sides.
        assert 0.97 * at_test < filled < 1.3 * at_test


def test_a_fifth_of_the_points_is_left_out_but_none_of_few_labels() -> None:
    apart = sample(points=400)
    apart = replace(apart, coord=apart.coord * 20, segment=np.full(400, -1, np.int16))
    assert apart.segment is not None
    apart.segment[:40] = 1
    known = []
    for seed in range(10):
        view = make_labelled_view(apart, seed, LabelledViewConfig(), MODEL)
        assert len(view.feat) == pytest.approx(320, abs=2)
        known.append(int((view.segment >= 0).sum()))
        few = make_labelled_view(apart, seed, LabelledViewConfig(), MODEL, keep_labels=True)
        assert int((few.segment >= 0).sum()) == 40
        assert len(make_labelled_view(apart, seed, PLAIN, MODEL).feat) == 400
    assert np.mean(known) == pytest.approx(32, abs=3)


def test_what_a_scene_lacks_stays_zero() -> None:
    bare = replace(sample(), color=np.zeros((500, 3), np.uint8), normal=np.zeros((500, 3)))
    bare = replace(bare, normal=bare.normal.astype(np.float32))
    for seed in range(5):
        view = make_labelled_view(bare, seed, LabelledViewConfig(), MODEL)
        assert not view.feat[:, 3:].any()


def test_scenes_are_laid_over_each_other_on_one_floor() -> None:
    part = LabelledViewConfig(augment=False, most_points=200, mix=1.0)
    high = make_labelled_view(tall_room(0), 3, part, MODEL)
    assert (high.segment == 1).all()
    whole = make_labelled_view(tall_room(-7), 4, replace(part, most_points=102_400), MODEL)
    alone, both = collate_labelled([high]), collate_labelled([high, whole])
    assert (alone.grid_coord.amin(0) == 0).all()
    assert (both.grid_coord.amin(0) == 0).all()
    for class_, height in ((0, 0.0), (1, 2.5)):
        at = both.grid_coord[both.segment == class_, 2] * MODEL.grid_size
        assert float(at.mean()) == pytest.approx(height, abs=0.1)


def test_neighbours_are_laid_over_each_other_as_often_as_asked() -> None:
    never = collate_labelled(views(5, LabelledViewConfig(mix=0.0)))
    assert len(never.offsets) == len(never.seeds) == 5
    always = collate_labelled(views(5, LabelledViewConfig(mix=1.0)))
    assert len(always.offsets) == 3
    assert always.names == tuple(f"room_{k}" for k in range(5))
    sizes = always.offsets.diff(prepend=torch.zeros(1, dtype=torch.int64))
    apart = never.offsets.diff(prepend=torch.zeros(1, dtype=torch.int64))
    assert apart[0] < sizes[0] <= apart[0] + apart[1]
    for end, size in zip(always.offsets.tolist(), sizes.tolist(), strict=True):
        assert len(always.grid_coord[end - size : end].unique(dim=0)) == size
    drawn = [
        view.mix < 1
        for view in (
            make_labelled_view(sample(0, 20), seed, LabelledViewConfig(), MODEL)
            for seed in range(200)
        )
    ]
    assert 0.7 < np.mean(drawn) < 0.9


def test_of_a_voxel_a_point_with_a_label_is_kept() -> None:
    config, views = SMALL.replace(grid_size=0.5), []
    for number in range(2):
        crowded = sample(number, points=4000)
        cells = np.floor(crowded.coord / np.float32(0.5))
        few = np.unique(cells, axis=0, return_index=True)[1][number::5]
        segment = np.full(4000, -1, np.int16)
        segment[few] = number
        for changes in (LabelledViewConfig(), PLAIN):
            scene = replace(crowded, segment=segment)
            view = make_labelled_view(scene, 0, changes, config, keep_labels=True)
            assert 0.8 * len(few) < (view.segment >= 0).sum() <= len(few)
        views.append(replace(view, mix=0))
    mixed = collate_labelled(views)
    assert len(mixed.offsets) == 1
    labelled = torch.cat([view.grid_coord[view.segment >= 0] for view in views])
    assert (mixed.segment >= 0).sum() == len(labelled.unique(dim=0))


def test_a_sample_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match="'room_1' has no labels"):
        make_labelled_view(replace(sample(), segment=None), 0, PLAIN, MODEL)
