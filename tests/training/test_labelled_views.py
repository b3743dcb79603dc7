"""What a segmenter learns from: voxels with their labels, mixed in pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from concerto import Concerto, ConcertoConfig, InputError
from concerto.training.labelled_views import (
    LabelledView,
    LabelledViewConfig,
    collate_labelled,
    make_labelled_view,
)
from concerto.training.pictures import cloud_of
from concerto.training.samples import Sample
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
        hierarchy = Concerto(config).eval().hierarchy(cloud_of(sample()))
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
    assert 50 < len(one.feat) <= 100
    assert torch.equal(one.feat, again.feat)
    assert one.feat.shape != other.feat.shape or not torch.equal(one.feat, other.feat)


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
            view = make_labelled_view(replace(crowded, segment=segment), 0, changes, config)
            assert 0.8 * len(few) < (view.segment >= 0).sum() <= len(few)
        views.append(replace(view, mix=0))
    mixed = collate_labelled(views)
    assert len(mixed.offsets) == 1
    labelled = torch.cat([view.grid_coord[view.segment >= 0] for view in views])
    assert (mixed.segment >= 0).sum() == len(labelled.unique(dim=0))


def test_a_sample_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match="'room_1' has no labels"):
        make_labelled_view(replace(sample(), segment=None), 0, PLAIN, MODEL)
