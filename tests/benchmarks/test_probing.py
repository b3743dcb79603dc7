"""The comparison of kinds of features, `python -m benchmarks.probing`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.probing import protocol
from benchmarks.probing.__main__ import Options, kinds_of
from benchmarks.probing.kinds import lifted, once, raw_input, together
from benchmarks.probing.protocol import Result, probe
from benchmarks.probing.rooms import Scenes, whole_scenes
from concerto.training.finetuning.linear_probe import LinearFit
from concerto.training.images.teacher import ImageTeacher
from concerto.training.scenes.samples import Sample

CLASSES = 3


@dataclass(frozen=True)
class Held:
    """Samples at hand."""

    samples: tuple[Sample, ...]
    classes: tuple[str, ...] = ("a", "b", "c")

    @property
    def scenes(self) -> list[str]:
        """A sample is named after its scene."""
        return [sample.name for sample in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class Gradient(ImageTeacher):
    """Features are the mean colour of a patch."""

    def __init__(self) -> None:
        super().__init__(patch_size=16, width=3, image_size=320)

    def patches(self, images: Tensor) -> Tensor:
        rows, cols = self.grid(images)
        cells = images.unflatten(3, (cols, 16)).unflatten(2, (rows, 16))
        return cells.mean((3, 5)).flatten(2).mT


def scene(number: int, points: int = 90) -> Sample:
    random = np.random.default_rng(number)
    segment = random.integers(-1, CLASSES, points).astype(np.int16)
    return Sample(
        name=f"scene{number}",
        coord=random.random((points, 3), dtype=np.float32),
        color=random.integers(0, 256, (points, 3), dtype=np.uint8),
        normal=np.zeros((points, 3), np.float32),
        segment=segment,
    )


def scenes(first: int, count: int) -> Scenes:
    held = tuple(scene(first + number) for number in range(count))
    return Scenes(Held(held), tuple((number,) for number in range(count)))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "FIT", LinearFit(weight_decays=(1e-3, 1e-2), iterations=20))


def score(results: list[Result], name: str) -> list[float]:
    return [result.miou for result in results if result.probe == name]


def test_features_that_name_the_class_score_all_and_noise_scores_little() -> None:
    def knowing(sample: Sample, rows: np.ndarray) -> np.ndarray:
        assert sample.segment is not None
        return np.eye(CLASSES, dtype=np.float32)[sample.segment[rows]]

    def noise(sample: Sample, rows: np.ndarray) -> np.ndarray:
        return np.random.default_rng(len(sample.name)).random((len(rows), 4), np.float32)

    train, test = scenes(0, 6), scenes(100, 3)
    both = {"knowing": [(knowing, (0, 1))], "noise": [(noise, (0, 1))]}
    results = probe(both, train, test, CLASSES)
    known = results["knowing"]
    assert {result.probe for result in known} == {
        *("linear", "linear, 1 scenes", "linear, 5 scenes", "k-NN")
    }
    assert score(known, "linear") == score(known, "k-NN") == [100, 100]
    assert max(score(results["noise"], "linear")) < 60


def test_a_seed_gives_the_same_scores_whatever_others_are_asked_for() -> None:
    train, test = scenes(0, 6), scenes(100, 3)
    asked = {"several": [(raw_input, (0, 1))], "apart": [(raw_input, (0,)), (raw_input, (1,))]}
    both = probe(asked, train, test, CLASSES)
    one = probe({"one": [(raw_input, (1,))]}, train, test, CLASSES)["one"]
    for name in asked:
        assert [result for result in both[name] if result.seed == 1] == one


def test_samples_of_one_room_come_together_with_the_images_of_all() -> None:
    first, other = scene(0), scene(1)
    image, seen = np.zeros((4, 4, 3), np.uint8), np.array([[0, 0, 5]])
    parts = [replace(first, images=(image + k,), seen=(seen + k,)) for k in range(2)]
    grouped = whole_scenes(Held((*parts, other)))
    assert grouped.samples == ((0, 1), (2,))
    whole = grouped.read(0)
    assert [int(found.max()) for found in whole.images] == [0, 1]
    assert [found[0, 2] for found in whole.seen] == [5, 6]


def test_lifted_features_are_those_of_the_pixels_averaged_over_images() -> None:
    ramp = np.zeros((240, 320, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(0, 255, 320), np.linspace(0, 255, 240)[:, None]
    flat = np.full((240, 320, 3), 51, np.uint8)
    pixels = np.array([[40, 200, 3], [250, 30, 7]])
    seen = replace(scene(0), images=(ramp, flat), seen=(pixels, pixels[:1]))
    every = np.arange(len(seen.coord))
    found = lifted(Gradient())(seen, every)
    shown = ramp[pixels[:, 1], pixels[:, 0]] / 255
    np.testing.assert_allclose(found[3], (shown[0] + 0.2) / 2, atol=0.01)
    np.testing.assert_allclose(found[7], shown[1], atol=0.01)
    unseen = np.setdiff1d(np.arange(len(found)), [3, 7])
    assert not found[unseen].any()
    side_by_side = together([raw_input, lifted(Gradient())])(seen, every)
    assert side_by_side.shape == (len(found), 12)
    assert torch.from_numpy(side_by_side).isfinite().all()


def test_what_joint_features_lack_is_asked_by_others_beside_them() -> None:
    options = Options(joint="concerto-tiny", alone="concerto-tiny")
    names = set(kinds_of(options, Gradient()))
    more = kinds_of(replace(options, beside=True), Gradient())
    assert set(more) - names == {
        f"joint, {n} beside" for n in ("random weights", "2D alone", "3D alone")
    }
    sample, rows = scene(0), np.arange(90)
    ((joint, _),) = more["joint"]
    for other in ("2D alone", "3D alone"):
        ((both, seeds),) = more[f"joint, {other} beside"]
        ((kind, _),) = more[other]
        assert seeds == protocol.SEEDS
        beside = np.hstack([joint(sample, rows), kind(sample, rows)])
        np.testing.assert_array_equal(both(sample, rows), beside)
    assert [seeds for _, seeds in more["joint, random weights beside"]] == [(0,), (1,), (2,)]


@pytest.mark.parametrize("name", ["raw input", "2D alone", "3D alone", "joint"])
def test_some_points_have_the_features_that_they_have_among_all(name: str) -> None:
    ((kind, _),) = kinds_of(Options("concerto-tiny", "concerto-tiny"), Gradient())[name]
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    pixels = np.stack([np.arange(90) * 3, np.arange(90) * 2, np.arange(90)], 1)
    sample = replace(scene(0), images=(image,), seen=(pixels,))
    rows = np.array([5, 70, 11])
    np.testing.assert_array_equal(kind(sample, rows), kind(sample, np.arange(90))[rows])


def test_a_kind_asked_for_several_times_in_a_row_is_computed_once() -> None:
    asked: list[tuple[str, int]] = []

    def counting(sample: Sample, rows: np.ndarray) -> np.ndarray:
        asked.append((sample.name, len(rows)))
        return raw_input(sample, rows)

    kind = once(counting)
    first, other, rows, few = scene(0), scene(1), np.arange(90), np.arange(7)
    calls = [(first, rows), (first, rows), (other, rows), (first, rows), (first, few)]
    for sample, some in calls:
        np.testing.assert_array_equal(kind(sample, some), raw_input(sample, some))
    assert asked == [("scene0", 90), ("scene1", 90), ("scene0", 90), ("scene0", 7)]
