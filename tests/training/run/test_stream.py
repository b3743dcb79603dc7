"""Batches depend on the seed alone; broken samples are named and replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from concerto.errors import ConcertoWarning, HubError, InputError
from concerto.training.run.stream import SampleStream, sample_at
from concerto.training.scenes.samples import Batch, Sample, SampleViews, View
from concerto.training.scenes.seeds import sample_seed


@dataclass
class Numbers:
    """Samples that are named by their index. broken: what some of them raise."""

    samples: int
    broken: dict[int, Exception] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Sample:
        if index in self.broken:
            raise self.broken[index]
        coord = np.full((1, 3), index, np.float32)
        return Sample(str(index), coord, np.zeros((1, 3), np.uint8), coord)


def views(sample: Sample, seed: int) -> SampleViews:
    """A sample of one point, whatever it is."""
    coord = torch.from_numpy(sample.coord)
    view = View(torch.zeros(1, 9), torch.zeros(1, 3, dtype=torch.int64), coord)
    images, pixels = torch.zeros(0, 3, 4, 4), torch.zeros(1, 0, 2)
    return SampleViews(sample.name, seed, view, view, (view,), images, (pixels,) * 3)


def drawn(batches: list[Batch]) -> list[tuple[str, int]]:
    return [
        (name, int(seed))
        for batch in batches
        for name, seed in zip(batch.names, batch.seeds, strict=True)
    ]


def first(stream: SampleStream, count: int, start: int = 0) -> list[Batch]:
    return list(islice(stream.batches(start), count))


def broken(*indices: int, samples: int = 100) -> Numbers:
    return Numbers(samples, {index: InputError(f"sample {index} is bad") for index in indices})


def left_out(told: pytest.WarningsRecorder) -> list[str]:
    """What was said of each sample that was left out."""
    return [str(warning.message).removeprefix("Left out: ") for warning in told]


@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 2**63 - 1))
def test_every_epoch_goes_through_all_samples_once(samples: int, epoch: int, seed: int) -> None:
    places = [sample_at(epoch * samples + k, samples, seed) for k in range(samples)]
    assert {place[0] for place in places} == {epoch}
    assert sorted(place[1] for place in places) == list(range(samples))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [
        tuple(sample_at(epoch * 50 + k, 50, seed)[1] for k in range(50))
        for epoch, seed in ((0, 0), (1, 0), (0, 1))
    ]
    assert len(set(orders)) == 3


@given(st.sampled_from([1, 2, 3, 4, 6]), st.integers(1, 30), st.integers(0, 9))
def test_a_batch_is_the_same_for_any_number_of_processes(
    processes: int, samples: int, batch: int
) -> None:
    source = Numbers(samples)
    [whole] = first(SampleStream(source, views, 12, seed=3), 1, batch)
    parts = [
        first(SampleStream(source, views, 12, 3, process, processes), 1, batch)[0]
        for process in range(processes)
    ]
    assert drawn(parts) == drawn([whole])


def test_seeds_are_those_of_the_sample_and_epoch() -> None:
    batches = first(SampleStream(Numbers(6), views, 4, seed=9), 6)
    for position, (name, seed) in enumerate(drawn(batches)):
        assert seed == sample_seed(9, position // 6, int(name))


def test_a_stream_begins_at_any_batch() -> None:
    stream = SampleStream(Numbers(7), views, 4)
    assert drawn(first(stream, 5, start=6)) == drawn(first(stream, 11))[6 * 4 :]


def test_workers_give_what_no_workers_give() -> None:
    source = broken(5, 50)
    with pytest.warns(ConcertoWarning) as alone:
        without = drawn(first(SampleStream(source, views, 10), 12))
    with pytest.warns(ConcertoWarning) as together:
        assert drawn(first(SampleStream(source, views, 10, workers=2), 12)) == without
    assert left_out(alone) == left_out(together)
    assert set(left_out(together)) == {"sample 5 is bad", "sample 50 is bad"}


def test_drawing_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first(SampleStream(Numbers(4), views, 2), 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_broken_sample_is_named_and_replaced_by_another_with_its_own_seed() -> None:
    sound = drawn(first(SampleStream(Numbers(100), views, 10), 10))
    with pytest.warns(ConcertoWarning) as told:
        mended = drawn(first(SampleStream(broken(41, 42), views, 10), 10))
    changed = [(a[0], b) for a, b in zip(sound, mended, strict=True) if a != b]
    assert {name for name, _ in changed} == {"41", "42"}
    for name, (other, seed) in changed:
        assert other not in ("41", "42", str(int(name) + 1))
        assert seed == sample_seed(0, 0, int(other))
    assert sorted(left_out(told)) == ["sample 41 is bad", "sample 42 is bad"]


@pytest.mark.parametrize("error", [OSError("disk"), ValueError("odd"), InputError("bad")])
def test_what_files_and_arrays_raise_counts_as_a_broken_sample(error: Exception) -> None:
    with pytest.warns(ConcertoWarning) as told:
        first(SampleStream(Numbers(40, {7: error}), views, 20), 2)
    assert left_out(told) == [str(error)]


def test_a_sample_may_also_break_in_the_transform() -> None:
    def picky(sample: Sample, seed: int) -> SampleViews:
        if sample.name == "3":
            raise InputError("3 has no points")
        return views(sample, seed)

    with pytest.warns(ConcertoWarning) as told:
        first(SampleStream(Numbers(40), picky, 20), 2)
    assert left_out(told) == ["3 has no points"]


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_broken_samples_stop_the_run(workers: int) -> None:
    stream = SampleStream(broken(*range(0, 100, 10)), views, 10, workers=workers)
    with pytest.raises(InputError, match=r"of the \d+ samples .* broken, over 5%.* is bad$"):
        first(stream, 20)


def test_up_to_a_twentieth_may_be_broken() -> None:
    stream = SampleStream(broken(0, 20, 40, 60, samples=100), views, 100)
    assert len(first(stream, 5)) == 5


@pytest.mark.parametrize("process", range(8))
def test_one_broken_scene_of_many_ends_no_process_of_a_run(process: int) -> None:
    scene = range(210, 240)  # its samples lie together
    source = broken(*scene, samples=3000)
    stream = SampleStream(source, views, 32, process=process, processes=8)
    assert len(first(stream, 3000 // 32)) == 3000 // 32


@pytest.mark.parametrize("process", range(8))
def test_broken_samples_that_come_together_by_chance_end_no_process_of_a_run(process: int) -> None:
    source = broken(*range(0, 3000, 60), samples=3000)
    stream = SampleStream(source, views, 32, process=process, processes=8)
    assert len(first(stream, 3000 // 32)) == 3000 // 32


def test_few_draws_are_not_judged() -> None:
    assert len(first(SampleStream(broken(0, 1, samples=10), views, 5), 2)) == 2


def test_data_without_a_sound_sample_stops_the_run() -> None:
    with pytest.raises(InputError, match="is bad"):
        first(SampleStream(broken(*range(3), samples=3), views, 2), 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreachable_source_stops_the_run_with_its_own_error(workers: int) -> None:
    source = Numbers(40, {7: HubError("The Hub does not answer.")})
    with pytest.raises(HubError, match=r"^The Hub does not answer.$"):
        first(SampleStream(source, views, 20, workers=workers), 2)


def test_a_mistake_in_the_code_is_no_broken_sample() -> None:
    with pytest.raises(ZeroDivisionError):
        first(SampleStream(Numbers(40, {7: ZeroDivisionError()}), views, 20), 2)


@pytest.mark.parametrize(("batch", "processes"), [(10, 4), (2, 4), (0, 1)])
def test_a_batch_that_cannot_be_shared_evenly_is_refused(batch: int, processes: int) -> None:
    with pytest.raises(InputError, match="evenly"):
        SampleStream(Numbers(5), views, batch, processes=processes)
