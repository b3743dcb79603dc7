"""What segmenters return, and which configs they take."""

from __future__ import annotations

import pytest
import torch

from concerto import ConfigError, InputError, Segmenter, SegmenterConfig
from concerto.heads import LinearConfig
from concerto.palette import distinct_colors
from conftest import SMALL, random_cloud
from small_segmenters import CLASSES, HEADS, made


@pytest.mark.parametrize("head", HEADS)
def test_every_point_gets_the_most_likely_class(head: object) -> None:
    segmenter, cloud = made(head), random_cloud(400)
    classes, shares = segmenter(cloud), segmenter.probabilities(cloud)
    assert (classes.shape, classes.dtype) == ((400,), torch.int64)
    assert shares.shape == (400, 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(400))
    assert torch.equal(shares.argmax(1), classes)
    assert torch.equal(segmenter.segment(cloud), classes)
    several = segmenter([cloud, random_cloud(90, seed=4)])
    assert torch.equal(several[0], classes)
    assert len(several[1]) == 90


def test_a_segmenter_answers_in_training_as_in_evaluation() -> None:
    torch.manual_seed(1)
    config = SegmenterConfig(SMALL.replace(drop_path=0.5), HEADS[1], CLASSES)
    segmenter, cloud = Segmenter(config).eval(), random_cloud(3000)
    shares, things = segmenter.probabilities(cloud), segmenter.instances(cloud, min_points=5)
    segmenter.train()
    segmenter.head.stages[0].eval()
    for _ in range(2):
        assert torch.equal(segmenter.probabilities(cloud), shares)
        assert torch.equal(segmenter(cloud), shares.argmax(1))
        assert torch.equal(segmenter.instances(cloud, min_points=5).instance, things.instance)
    assert segmenter.head.training
    assert not segmenter.head.stages[0].training


def test_points_left_out_have_no_class() -> None:
    points = random_cloud(300).coord
    points[7] = torch.nan
    segmenter = made()
    assert segmenter(points, drop_invalid=True)[7] == -1
    assert not segmenter.probabilities(points, drop_invalid=True)[7].any()
    things = segmenter.instances(points, drop_invalid=True)
    assert (things.segment[7], things.instance[7]) == (-1, -1)


def test_things_are_of_one_class_and_numbered_by_size() -> None:
    segmenter, cloud = made(), random_cloud(3000, extent=0.5)
    things = segmenter.instances(cloud, similarity=0.5, min_points=5)
    assert torch.equal(things.segment, segmenter(cloud))
    counts = things.instance[things.instance >= 0].bincount()
    assert counts.min() >= 5
    assert (counts.diff() <= 0).all()
    for number in range(len(counts)):
        assert len(things.segment[things.instance == number].unique()) == 1
    assert len(segmenter.instances([cloud, cloud])) == 2


@pytest.mark.parametrize(
    ("option", "values"),
    [("similarity", (3, "0.9", None, float("nan"))), ("min_points", (0, "5", None, 2.5))],
)
def test_what_bounds_no_thing_is_refused(option: str, values: tuple) -> None:
    for value in values:
        with pytest.raises(InputError, match=f"{option} is {value!r}; it"):
            made().instances(random_cloud(50), **{option: value})


def test_things_of_scenes_packed_together_have_numbers_of_their_own() -> None:
    segmenter = made()
    clouds = [random_cloud(1500, seed, extent=0.5) for seed in (0, 4)]
    options = {"similarity": 0.5, "min_points": 5}
    alone = segmenter.instances(clouds, **options)
    batch = torch.arange(3000) % 2
    coord, color, normal = (
        torch.stack([getattr(cloud, name) for cloud in clouds], dim=1).flatten(0, 1)
        for name in ("coord", "color", "normal")
    )
    packed = segmenter.instances(
        {"coord": coord, "color": color, "normal": normal, "batch": batch}, **options
    )
    for number, one in enumerate(alone):
        assert torch.equal(packed.segment[batch == number], one.segment)
    first, second = (packed.instance[batch == number] for number in (0, 1))
    assert torch.equal(first, alone[0].instance)
    shift = alone[0].instance.max() + 1
    assert torch.equal(second, torch.where(alone[1].instance < 0, -1, alone[1].instance + shift))
    assert alone[1].instance.max() >= 0


def test_colours_of_classes_are_all_different() -> None:
    assert len(set(distinct_colors(60))) == 60
    assert made().palette.shape == (3, 3)


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"classes": ()}, "name at least one"),
        ({"classes": ("a", "a")}, "each once"),
        ({"palette": ((1, 2, 3),)}, "1 colours for 3 classes"),
        ({"unseen": ("lamp",)}, "not all of these are classes"),
        ({"classes": "abc"}, "classes is 'abc'; it must be a sequence of texts"),
        ({"classes": ("a", 2)}, r"classes is \('a', 2\)"),
        ({"unseen": "abc"}, "unseen is 'abc'"),
        ({"palette": ((1, 2), (1, 2, 3), (4, 5, 6))}, r"palette has \(1, 2\); a colour is three"),
        ({"palette": ((999, 2, 3),) * 3}, "palette has .*from 0 to 255"),
        ({"palette": ((-5, 2, 3),) * 3}, "palette has .*from 0 to 255"),
        ({"palette": 7}, "palette is 7"),
        ({"head": "linear"}, "head is str; it must be a LinearConfig"),
        ({"encoder": "tiny"}, "encoder is str; it must be a ConcertoConfig"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(changes: dict, trouble: str) -> None:
    values = {"encoder": SMALL, "head": LinearConfig(), "classes": CLASSES} | changes
    with pytest.raises(ConfigError, match=trouble):
        SegmenterConfig(**values)
