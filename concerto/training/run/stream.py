"""The endless stream of batches: which samples, in which order, and what becomes of broken ones.

Sample i of global batch b is the same for any number of processes and workers: positions count
through one permutation of all samples after another, and each process takes a contiguous part of
every batch. So a stream begins at any batch without a state to restore.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from concerto.errors import ConcertoError, ConcertoWarning, InputError
from concerto.training.run.signals import leave_to_parent
from concerto.training.scenes.samples import Sample, collate
from concerto.training.scenes.seeds import sample_seed
from concerto.training.scenes.sources import BROKEN, SceneSource

if TYPE_CHECKING:
    from accelerate import Accelerator

    from concerto.training.run.loop import LoopConfig

# More than this share of broken samples, once so many were drawn, stops the run.
MOST_BROKEN = 0.05
FEWEST_DRAWN = 20
# The share is of so many at least, or of all of the source: in fewer, more are broken by chance.
ENOUGH_DRAWN = 400

# A sample and its seed → views: `SampleViews`, or whatever else the stream's `collate` takes.
Transform = Callable[[Sample, int], Any]


@dataclass(frozen=True)
class BrokenSample:
    """A sample that was left out. reason: says its name too."""

    reason: str


@dataclass
class SampleStream:
    """This process' share of all batches.

    source: where samples come from. transform: makes a sample and its seed into views; both are
    called in the workers. batch_size: samples of one batch over all processes. seed: of the run.
    process, processes: which one this is of how many. workers: processes that prepare batches
    ahead; 0 prepares each when it is asked for. collate: lays the views of several samples
    together, as a batch.

    Raises InputError where the batch cannot be shared evenly.
    """

    source: SceneSource
    transform: Transform
    batch_size: int
    seed: int = 0
    process: int = 0
    processes: int = 1
    workers: int = 0
    collate: Callable[[list[Any]], Any] = collate

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.batch_size % self.processes:
            raise InputError(
                f"A batch of {self.batch_size} samples cannot be shared by {self.processes} "
                "processes evenly. Choose a multiple."
            )

    def batches(self, start: int = 0) -> Iterator[Any]:
        """This process' part of batch `start` and of all that follow.

        A broken sample is replaced by another of its source, with that one's seed, and warned of.

        Raises InputError where over 5 % of the samples drawn here are broken.
        """
        tally = _Tally(len(self.source))
        for drawn in self._load(start):
            for sample in drawn.broken:
                tell_broken(sample)
            if drawn.failure is not None:
                raise drawn.failure
            tally.count(drawn)
            if drawn.batch is None:
                raise InputError(
                    f"{FEWEST_DRAWN} samples one after another are broken. The last: "
                    f"{drawn.broken[-1].reason}"
                )
            yield drawn.batch

    def positions(self, batch: int) -> range:
        """Where this process' part of a batch lies in the endless sequence of samples."""
        share = self.batch_size // self.processes
        first = batch * self.batch_size + self.process * share
        return range(first, first + share)

    def _load(self, start: int) -> Iterator[_DrawnBatch]:
        loader = DataLoader(
            _Positions(self.source, self.transform, self.seed),
            batch_sampler=_Batches(self, start),
            num_workers=self.workers,
            collate_fn=partial(_collate, self.collate),
            # Workers hold a batch each, and views are large: one ahead keeps the trainer fed.
            prefetch_factor=1 if self.workers else None,
            # Without an own generator, DataLoader draws from torch's global one.
            generator=torch.Generator(),
            worker_init_fn=leave_to_parent,
        )
        return iter(loader)


def stream_for(
    loop: LoopConfig,
    accelerator: Accelerator,
    source: SceneSource,
    transform: Transform,
    workers: int,
    collate: Callable[[list[Any]], Any] = collate,
) -> SampleStream:
    """This process' share of a run's forward passes. Raises as `SampleStream`."""
    return SampleStream(
        source,
        transform,
        batch_size=loop.batch_size // loop.accumulate,
        seed=loop.seed,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
        workers=workers,
        collate=collate,
    )


def sample_at(position: int, samples: int, seed: int) -> tuple[int, int]:
    """The epoch, and the index of the sample, at a position of the endless sequence."""
    epoch, place = divmod(position, samples)
    return epoch, int(_permutation(seed, epoch, samples)[place])


def transformed(source: SceneSource, transform: Transform, index: int, seed: int) -> Any:
    """What a transform makes of a sample, or a `BrokenSample` or ConcertoError that says why not.

    Errors are told, not raised: what a worker raises arrives with its whole traceback for a
    message.
    """
    try:
        return transform(source[index], seed)
    except BROKEN as error:
        return BrokenSample(str(error) or repr(error))
    except ConcertoError as error:
        return error


def tell_broken(sample: BrokenSample) -> None:
    """Warn of a sample that was left out."""
    warnings.warn(f"Left out: {sample.reason}", ConcertoWarning, stacklevel=2)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, samples: int) -> np.ndarray:
    # An index that no sample has keeps this apart from what samples draw.
    return np.random.default_rng(sample_seed(seed, epoch, samples)).permutation(samples)


@dataclass(frozen=True)
class _Drawn:
    """What came of one position: views, unless too many in a row were broken, or a failure."""

    views: Any = None
    broken: tuple[BrokenSample, ...] = ()
    failure: ConcertoError | None = None


@dataclass(frozen=True)
class _DrawnBatch:
    """What came of the positions of one batch. replaced: of how many the sample was broken."""

    batch: Any
    drawn: int
    replaced: int
    broken: tuple[BrokenSample, ...]
    failure: ConcertoError | None


@dataclass(frozen=True)
class _Positions(Dataset[_Drawn]):
    """The endless sequence, by position."""

    source: SceneSource
    transform: Transform
    seed: int

    def __getitem__(self, position: int) -> _Drawn:
        samples = len(self.source)
        epoch, index = sample_at(position, samples, self.seed)
        broken: list[BrokenSample] = []
        # Not the next: samples of a scene lie together, and break together.
        others = np.random.default_rng(sample_seed(self.seed, epoch, index))
        while len(broken) < FEWEST_DRAWN:
            seed = sample_seed(self.seed, epoch, index)
            drawn = transformed(self.source, self.transform, index, seed)
            if isinstance(drawn, ConcertoError):
                return _Drawn(None, tuple(broken), drawn)
            if not isinstance(drawn, BrokenSample):
                return _Drawn(drawn, tuple(broken))
            broken.append(drawn)
            index = int(others.integers(samples))
        return _Drawn(None, tuple(broken))


@dataclass(frozen=True)
class _Batches:
    """The positions of each batch from `start` on, without end."""

    stream: SampleStream
    start: int

    def __iter__(self) -> Iterator[list[int]]:
        batch = self.start
        while True:
            yield list(self.stream.positions(batch))
            batch += 1


def _collate(collate: Callable[[list[Any]], Any], drawn: list[_Drawn]) -> _DrawnBatch:
    views = [one.views for one in drawn if one.views is not None]
    broken = tuple(sample for one in drawn for sample in one.broken)
    return _DrawnBatch(
        batch=collate(views) if len(views) == len(drawn) else None,
        drawn=len(drawn),
        replaced=sum(bool(one.broken) for one in drawn),
        broken=broken,
        failure=next((one.failure for one in drawn if one.failure is not None), None),
    )


@dataclass
class _Tally:
    """How many samples of a source of so many were drawn, and how many of them broken."""

    samples: int
    drawn: int = 0
    broken: int = 0

    def count(self, batch: _DrawnBatch) -> None:
        """Raise InputError where the share of broken samples is too large."""
        self.drawn += batch.drawn
        self.broken += batch.replaced
        judged = max(self.drawn, min(self.samples, ENOUGH_DRAWN))
        if self.drawn < FEWEST_DRAWN or self.broken <= MOST_BROKEN * judged:
            return
        last = batch.broken[-1].reason if batch.broken else ""
        raise InputError(
            f"{self.broken} of the {self.drawn} samples drawn so far are broken, over "
            f"{MOST_BROKEN:.0%}: something is wrong with the data as a whole. The last: {last}"
        )
