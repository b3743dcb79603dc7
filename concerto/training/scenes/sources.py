"""Scenes to train on, wherever they lie: sources of samples with a number each.

A source knows its length and gives any sample by its index; in which order they come is the
stream's business (`concerto.training.run.stream`).
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np

from concerto.errors import ConcertoWarning, InputError
from concerto.folders import files_in
from concerto.training.scenes.hub import hub_scenes
from concerto.training.scenes.parquet import ParquetScenes, files_of_split, same_classes
from concerto.training.scenes.published import PublishedScenes
from concerto.training.scenes.samples import Sample

Place = str | os.PathLike[str]
# What a broken sample raises: wherever it is read, decoded or cut into views.
BROKEN = (InputError, OSError, ValueError)


class SceneSource(Protocol):
    """Samples by index. Must be picklable, as worker processes get it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that `Sample.segment` counts; empty where they are not known."""
        ...

    @property
    def scenes(self) -> Sequence[str]:
        """The scene that each sample shows, by a name that no other scene has."""
        ...

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """A sample, 0 <= index < len. Raises InputError, OSError or ValueError where it is
        broken, naming it; any other error ends the training."""
        ...

    def segment(self, index: int) -> np.ndarray | None:
        """The `Sample.segment` of a sample, where it can be read without the rest of it."""
        ...


def open_scenes(
    data: Place | Sequence[Place],
    *,
    split: str = "train",
    streaming: bool = False,
    images: bool = True,
) -> SceneSource:
    """The samples of a split.

    data: a folder with Parquet files as `python -m concerto.training.prepare` writes them; such a
    data set on the Hub, as org/name or org/name@revision; a folder in the published layout, with
    `splits/{split}.json`; or several of these, whose samples are then one after another.
    streaming: do not download a data set of the Hub first. The samples, and the order in which a
    stream draws them, are the same either way, and for any number of processes.
    images: without them samples have none, and nothing of them is read: points and labels alone.

    Raises InputError where there are no such scenes, HubError where the Hub does not give them,
    MissingExtraError where prepared scenes are asked for and `datasets` is missing.
    """
    places = [data] if isinstance(data, str | os.PathLike) else list(data)
    sources = [_open(str(place), split, streaming, images) for place in places]
    if not sources:
        raise InputError("No data was given: pass a folder, or org/name of a data set on the Hub.")
    return sources[0] if len(sources) == 1 else JoinedScenes(sources)


class JoinedScenes:
    """Several sources as one: the samples of each after those of the one before."""

    def __init__(self, sources: Sequence[SceneSource]) -> None:
        self.sources = list(sources)
        self._ends = list(accumulate(len(source) for source in self.sources))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of all sources. Raises InputError where they differ."""
        return same_classes({f"source {k}": one.classes for k, one in enumerate(self.sources)})

    @cached_property
    def scenes(self) -> Sequence[str]:
        """The scene of each sample; those of different sources are different ones."""
        return [f"{k}/{scene}" for k, one in enumerate(self.sources) for scene in one.scenes]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """A sample of one of the sources."""
        source, at = self._place(index)
        return source[at]

    def segment(self, index: int) -> np.ndarray | None:
        """The labels of a sample of one of the sources."""
        source, at = self._place(index)
        return source.segment(at)

    def _place(self, index: int) -> tuple[SceneSource, int]:
        """Whose sample it is, and its number there."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        source = self.sources[number]
        return source, index - (self._ends[number] - len(source))


def _open(place: str, split: str, streaming: bool, images: bool) -> SceneSource:
    folder = Path(place)
    if folder.is_dir():
        if streaming:
            warnings.warn(
                f"{place} is a folder on this machine; its samples are read from there, not "
                "streamed.",
                ConcertoWarning,
                stacklevel=2,
            )
        return _in_folder(folder, split, images)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", place) and not place.startswith("."):
        return hub_scenes(place, split, streaming, images)
    raise InputError(
        f"There is no folder {place}. Pass a folder of prepared scenes, or org/name of a data set "
        "on the Hub."
    )


def _in_folder(folder: Path, split: str, images: bool) -> SceneSource:
    if (folder / "splits").is_dir():
        return PublishedScenes(folder, split, images)
    # What is being written lies in a hidden folder beside the rest.
    files = [path.relative_to(folder).as_posix() for path in files_in(folder, (".parquet",))]
    if not files:
        raise InputError(
            f"{folder} holds no prepared scenes: neither Parquet files nor splits/. Make them from "
            "folders of posed frames with `python -m concerto.training.prepare rgbd SRC OUT`, or "
            "from published archives with `prepare published SRC OUT`."
        )
    chosen = files_of_split(files, split, str(folder))
    return ParquetScenes([str(folder / file) for file in chosen], images=images)
