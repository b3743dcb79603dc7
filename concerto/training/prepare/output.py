"""Where prepared samples go: a folder of Parquet files with a card, and from there to the Hub.

Splits are written to hidden folders and take their places when all are whole.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import tyro

from concerto.errors import InputError
from concerto.files import check_writable
from concerto.training.prepare.card import CARD, FACTS, splits_in, write_card
from concerto.training.scenes.encoded import EncodedSample
from concerto.training.scenes.parquet_format import classes_in, columns_of, to_table
from concerto.upload import Target, make_target

if TYPE_CHECKING:
    import pyarrow.parquet as pq

# A file is closed when it has grown to this: enough files to share, few enough to list.
SHARD_BYTES = 2**28
# Of a file in a repo.
PARQUET_OF_SPLIT = re.compile(r"[^/]+/.+\.parquet")


@dataclass(frozen=True)
class Destination:
    """What becomes of the samples, whatever they are made from."""

    overwrite: bool = False
    """Replace a split where the folder has it already."""
    license: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Licence of what is written, for the card, as the Hub names it: cc-by-4.0, other. Without it,
    the card states none, or that of the data set where it is known."""
    push_to_hub: Annotated[str | None, tyro.conf.arg(metavar="REPO")] = None
    """Upload the folder, in one commit, to this data set of the Hub; made where it is missing."""
    private: bool = False
    """Make a new data set on the Hub private."""

    def write_splits(
        self,
        out: Path,
        splits: Mapping[str, Iterable[EncodedSample]],
        facts: dict[str, Any],
        classes: Sequence[str] = (),
    ) -> None:
        """Write samples as splits of the folder `out`, with a card, and upload the folder.

        splits: the samples by the name of the split, asked for only once all is found in order.
        facts: what the card says of how they were made. classes: names of the classes of labelled
        samples.

        Raises InputError where the folder cannot be written, has a split already, or has another
        one of other classes, or where the Hub has splits that the folder lacks; HubError where the
        Hub does not take it, before the work where it can be known.
        """
        check_writable(out)
        for split in splits:
            self._check(out, split)
        _check_classes([one for one in splits_in(out) if one.name not in splits], classes)
        if self.license is not None:
            facts = {**facts, "license": self.license}
        target = None
        if self.push_to_hub is not None:
            target = make_target(
                self.push_to_hub,
                private=self.private or None,
                commit_message="Upload prepared scenes",
                repo_type="dataset",
            )
            _check_remote(target, out, {one.name for one in splits_in(out)} | splits.keys())
        written = {}
        with ExitStack() as places:
            for split, samples in splits.items():
                folder = places.enter_context(_replacing_folder(out / split))
                written[split] = write_shards(folder, samples, facts, classes)
        write_card(out, target.repo_id if target else None)
        for split, count in written.items():
            print(f"{out / split}  {count} samples")
        if target is not None:
            print(_push(target, out))

    def _check(self, out: Path, split: str) -> None:
        if not re.fullmatch(r"\w+", split):
            raise InputError(f"split is {split!r}; it must be one word, such as train or val.")
        if (out / split).exists() and not self.overwrite:
            raise InputError(
                f"{out / split} is there already. Choose another folder or another split, or "
                "replace it with --overwrite."
            )


@dataclass(frozen=True)
class OutputOptions(Destination):
    """Where the samples of one split go."""

    split: str = "train"
    """Name of the split to write; others in the folder stay."""

    def write(
        self,
        out: Path,
        samples: Iterable[EncodedSample],
        facts: dict[str, Any],
        classes: Sequence[str] = (),
    ) -> None:
        """Write the samples as a split of the folder `out`, as `write_splits` does."""
        self.write_splits(out, {self.split: samples}, facts, classes)


def write_shards(
    folder: Path,
    samples: Iterable[EncodedSample],
    facts: dict[str, Any],
    classes: Sequence[str] = (),
) -> int:
    """Write samples to Parquet files in an empty folder, each a group of rows of its own.

    classes: names of the classes of labelled samples; without them, labels are not written.

    Returns how many there were. Raises InputError where there are none.
    """
    shards = _Shards(folder, json.dumps(facts), tuple(classes))
    try:
        for sample in samples:
            shards.add(sample)
    finally:
        shards.close()
    if not shards.rows:
        raise InputError("There is nothing to write: not one sample was made.")
    total = len(shards.files)
    for number, file in enumerate(shards.files):
        file.rename(folder / f"{number:05d}-of-{total:05d}.parquet")
    return shards.rows


@dataclass
class _Shards:
    """Parquet files of about equal size, one being written."""

    folder: Path
    facts: str
    classes: tuple[str, ...]
    rows: int = 0
    files: list[Path] = field(default_factory=list)
    _stream: IO[bytes] | None = None
    _writer: pq.ParquetWriter | None = None

    def __post_init__(self) -> None:
        schema = columns_of(self.classes).arrow_schema
        self.schema = schema.with_metadata({**schema.metadata, FACTS: self.facts.encode()})

    def add(self, sample: EncodedSample) -> None:
        """Write a row."""
        table = to_table(sample, self.schema)
        if self._stream is None or self._writer is None:
            self._open()
        assert self._stream is not None
        assert self._writer is not None
        self._writer.write_table(table.replace_schema_metadata(self.schema.metadata))
        self.rows += 1
        if self._stream.tell() > SHARD_BYTES:
            self.close()

    def close(self) -> None:
        """End the file that is being written."""
        if self._writer is not None and self._stream is not None:
            self._writer.close()
            self._stream.close()
        self._writer = self._stream = None

    def _open(self) -> None:
        import pyarrow.parquet as pq

        self.files.append(self.folder / f"{len(self.files)}.part")
        self._stream = self.files[-1].open("wb")
        # Values of scans hardly repeat: dictionaries and extremes of them cost, and serve nobody.
        self._writer = pq.ParquetWriter(
            self._stream,
            self.schema,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
        )


@contextmanager
def _replacing_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; it takes its place at the end, or goes on an error."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror or error}.") from error
    new, old = scratch / "new", scratch / "old"
    try:
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    except OSError as error:
        # A file that samples come from may be what is missing: it is named.
        at = f": {error.filename}" if error.filename else ""
        raise InputError(f"Cannot write {target}: {error.strerror or error}{at}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_classes(others: Sequence[Path], classes: Sequence[str]) -> None:
    """Raise InputError where a split that stays has classes, and others than those to come."""
    import pyarrow.parquet as pq

    for split in others:
        known = classes_in(pq.read_schema(next(split.glob("*.parquet"))))
        if known and classes and known != tuple(classes):
            raise InputError(
                f"{split} has classes {', '.join(known)}, and what is to stand beside it has "
                f"{', '.join(classes)}: a label would mean two things. Choose another folder."
            )


def _check_remote(target: Target, out: Path, splits: Set[str]) -> None:
    """Raise InputError where the repo has a split that the folder will lack: the folder's card,
    which says what there is, would hide it from all who load the data."""
    remote = {name.split("/")[0] for name in target.files() if PARQUET_OF_SPLIT.fullmatch(name)}
    hidden = sorted(remote - splits)
    if hidden:
        wanted = " ".join(f'--include "{split}/*"' for split in hidden)
        raise InputError(
            f"{target.repo_id} on the Hub has splits that {out} lacks, {', '.join(hidden)}, and "
            "the card of what is pushed would hide them. Fetch them first, with `hf download "
            f"{target.repo_id} --repo-type dataset --local-dir {out} {wanted}`, or push to another "
            "repo."
        )


def _push(target: Target, out: Path) -> str:
    """Make the repo hold what the folder holds, of all its splits; returns the commit's URL."""
    splits = splits_in(out)
    files = [CARD] + [
        file.relative_to(out).as_posix()
        for split in splits
        for file in sorted(split.glob("*.parquet"))
    ]
    # Files of an earlier upload of these splits, which had another number of them.
    stale = [
        name
        for name in target.files()
        if name.endswith(".parquet")
        and name.split("/")[0] in {split.name for split in splits}
        and name not in files
    ]
    return target.upload(out, files, delete=stale)
