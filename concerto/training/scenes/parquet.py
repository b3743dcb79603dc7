"""Prepared scenes in Parquet files, on a disk or on the Hub, each sample read when it is asked for.

A sample's place, its file, group of rows and row, is known from the files' footers, and groups are
small. So any sample can be read alone, also over the network: the order in which samples come is
the same with and without streaming, and for any number of processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from concerto.client_errors import client_errors, reason
from concerto.errors import HubError, InputError
from concerto.training.scenes.parquet_format import (
    COLUMNS,
    IMAGES,
    LABELS,
    classes_in,
    from_table,
    import_datasets,
    segment_in,
)
from concerto.training.scenes.samples import Sample

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Read = TypeVar("Read")
# Footers read at a time: over a network each takes two answers.
READERS = 16


def files_of_split(files: Sequence[str], split: str, place: str) -> list[str]:
    """Those of the Parquet files, named from their root on, that belong to a split.

    A file belongs to it where the split is a word of its path: train/0.parquet,
    data/train-00000-of-00002.parquet.

    Raises InputError where none does, or one that the names of others count is not there. place:
    where they lie, for the message.
    """
    word = re.compile(rf"(^|\W){re.escape(split)}(\W|$)")
    found = sorted(file for file in files if word.search(file.removesuffix(".parquet")))
    if not found:
        others = sorted({PurePosixPath(file).parts[0] for file in files})
        raise InputError(f"{place} has no split {split!r}. It has: {', '.join(others)}.")
    _check_whole(found, place)
    return found


def same_classes(found: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The classes of all places that have any.

    Raises InputError where two differ: a label would mean one thing here and another there.
    """
    labelled = [(place, classes) for place, classes in found.items() if classes]
    if not labelled:
        return ()
    first, wanted = labelled[0]
    for place, classes in labelled:
        if classes != wanted:
            raise InputError(
                f"{first} has classes {', '.join(wanted)}, and {place} has {', '.join(classes)}. "
                "Prepare both with the same classes."
            )
    return wanted


class ParquetScenes:
    """The samples of some Parquet files, in the order of the files and their rows."""

    def __init__(self, files: Sequence[str], filesystem: Any = None, images: bool = True) -> None:
        """files: paths. filesystem: of fsspec, where they lie elsewhere than on this machine.
        images: as in `open_scenes`.

        Raises InputError where a file is no Parquet file of this format, or all are empty.
        """
        import_datasets()
        self.files, self._filesystem, self._with_images = list(files), filesystem, images
        with ThreadPoolExecutor(READERS if filesystem is not None else 1) as pool:
            self._footers = list(pool.map(self._footer, range(len(self.files))))
        self._classes = [classes_in(footer.schema.to_arrow_schema()) for footer in self._footers]
        groups = [
            (file, group, footer.row_group(group).num_rows)
            for file, footer in enumerate(self._footers)
            for group in range(footer.num_row_groups)
        ]
        self._groups = np.array(groups, np.int64).reshape(-1, 3)
        self._ends = self._groups[:, 2].cumsum()
        if not len(self):
            raise InputError(f"There are no samples in {', '.join(self.files)}.")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of the labels; none where no file has labels.

        Raises InputError where files of different classes stand beside each other.
        """
        return same_classes(dict(zip(self.files, self._classes, strict=True)))

    @cached_property
    def scenes(self) -> Sequence[str]:
        """The scene of each sample. Raises InputError or HubError where a file cannot be read."""
        return [scene for file in range(len(self.files)) for scene in self._scenes(file)]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Sample:
        """A sample. Raises InputError where it is broken, HubError where it cannot be fetched."""
        file, group, row = self._locate(index)
        columns = [name for name in COLUMNS if self._with_images or name not in IMAGES]
        columns += LABELS if self._classes[file] else ()
        table, place = self._read_row(file, group, row, columns)
        return from_table(table, place, self._classes[file]).decode()

    def segment(self, index: int) -> np.ndarray | None:
        """The labels of a sample, their column alone being read. Raises as for a sample."""
        file, group, row = self._locate(index)
        if not self._classes[file]:
            return None
        table, place = self._read_row(file, group, row, ["segment"])
        return segment_in(table, place, self._classes[file])

    def _locate(self, index: int) -> tuple[int, int, int]:
        """The file of a sample, its group of rows there, and the row in that."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        at = int(np.searchsorted(self._ends, index, side="right"))
        file, group, rows = map(int, self._groups[at])
        return file, group, index - (int(self._ends[at]) - rows)

    def _read_row(
        self, file: int, group: int, row: int, columns: Sequence[str]
    ) -> tuple[pa.Table, str]:
        """A table of one row, and what to call its place in messages."""
        import pyarrow.parquet as pq

        def read(stream: Any) -> pa.Table:
            reader = pq.ParquetFile(stream, metadata=self._footers[file], pre_buffer=True)
            return reader.read_row_group(group, columns=list(columns), use_threads=False)

        table = self._read(file, read)
        return table.slice(row, 1), f"{self.files[file]}, row {row} of group {group}"

    def _scenes(self, file: int) -> list[str]:
        """Of one file: a column of names alone, whatever else is large."""
        import pyarrow.parquet as pq

        def read(stream: Any) -> list[str]:
            reader = pq.ParquetFile(stream, metadata=self._footers[file], pre_buffer=True)
            names = reader.read(columns=["scene"], use_threads=False)["scene"]
            return [str(name) for name in names.to_pylist()]

        return self._read(file, read)

    def _footer(self, file: int) -> pq.FileMetaData:
        import pyarrow.parquet as pq

        footer = self._read(file, pq.read_metadata)
        missing = set(COLUMNS) - set(footer.schema.to_arrow_schema().names)
        if missing:
            raise InputError(
                f"{self.files[file]} has no column {', '.join(sorted(missing))}: it holds no "
                "prepared scenes. `python -m concerto.training.prepare` makes them."
            )
        return footer

    def _read(self, file: int, read: Callable[[Any], Read]) -> Read:
        """Read from a file, opened for this alone: nothing open is shared between processes."""
        import pyarrow as pa

        path = self.files[file]
        try:
            if self._filesystem is None:
                with open(path, "rb") as stream:
                    return read(stream)
            # Ranges are asked for as they are needed: reading ahead would fetch what is not.
            with self._filesystem.open(path, "rb", cache_type="none") as stream:
                return read(stream)
        except pa.ArrowException as error:
            raise InputError(f"{path} is damaged, or no Parquet file: {error}.") from error
        except client_errors() as error:
            if self._filesystem is not None:
                raise HubError(f"Could not fetch {path}: {reason(error)}.") from error
            raise InputError(f"Cannot read {path}: {reason(error)}.") from error


def _check_whole(files: Sequence[str], place: str) -> None:
    """Raise InputError where NAME-00000-of-00003.parquet lacks one of the three."""
    found = [re.fullmatch(r"(.*?)(\d+)-of-(\d+)\.parquet", file) for file in files]
    series = {(name[1], len(name[2]), name[3]) for name in found if name}
    there = set(files)
    for name, digits, count in sorted(series):
        for number in range(int(count)):
            wanted = f"{name}{number:0{digits}d}-of-{count}.parquet"
            if wanted not in there:
                raise InputError(
                    f"{place} lacks {wanted}, one of {int(count)} files. Download or prepare the "
                    "split again."
                )
