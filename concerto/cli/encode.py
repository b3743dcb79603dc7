"""`concerto encode`: scans → files of features.

A long run can be cut off and started again: what is finished is skipped, a bad scan is noted and
passed over. Under `accelerate launch` or `torchrun` each process takes its share of the scans.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import tyro
from torch import Tensor

from concerto.cli.encode_record import RECORD, Finished, Settings, settle
from concerto.cli.feature_files import holds_features, write_features
from concerto.cli.options import ModelOptions
from concerto.cli.told import into, telling_apart
from concerto.command_line import DEBUG, in_flags
from concerto.devices import launcher_number
from concerto.errors import ConcertoError, ConcertoWarning, InputError
from concerto.files import check_writable
from concerto.folders import files_in
from concerto.io import NOT_FROM_FOLDERS, find_scans
from concerto.points.point_cloud import PointCloud

Format = Literal["npz", "npy", "safetensors"]


def encode(
    scans: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SCAN...")],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")],
    format: Format = "npz",
    half: bool = False,
    overwrite: bool = False,
    workers: int = 2,
    model: tyro.conf.OmitArgPrefixes[ModelOptions] = ModelOptions(),
) -> None:
    """Write the features of each scan to a file of its name in DIR.

    An .npz or .safetensors file holds coord (N, 3), as read, and feat (N, C), row for row; an .npy
    file holds feat alone. Scans that fail are listed at the end. What the features were made with
    is kept in DIR, and features made otherwise are not added to them.

    Args:
        scans: Files of points, and folders, which stand for all scans in them but TXT, CSV and
            NPY: these are mostly something else, and are to be named one by one.
        output: Folder to write to; made if missing. Folders keep their structure in it.
        format: Kind of file.
        half: Store features in float16 instead of float32.
        overwrite: Encode again where there is a file of the scan already, instead of passing it
            over. It may be of another model or other options where no others of those are left in
            DIR.
        workers: Scans to read ahead while the model works.
    """
    targets = _targets(scans, output, format)
    rank, processes = _share()
    mine = dict(islice(targets.items(), rank, None, processes))
    check_writable(output)
    if rank == 0:
        _tell_left_out(scans, targets)
    pending = mine
    if mine:
        encoder = model.load()
        finished = settle(output, Settings.of(model, encoder, half), targets, overwrite)
        pending = mine if overwrite else _unfinished(mine, finished)
    run = _Run(len(pending))
    if pending:
        with telling_apart():
            for scan, cloud, advice in _read_ahead(model, list(pending), max(1, workers)):
                with run.scan(scan, advice):
                    features = model.encode(encoder, cloud.result(), progress=len(pending) == 1)
                    stored = features.half() if half else features
                    finished.begin()
                    write_features(pending[scan], cloud.result(), stored)
                # Not within: where nobody reads what is printed, no scan has failed.
                if scan not in run.failed:
                    run.done(pending[scan], features)
        removed = finished.remove_outdated(pending[scan] for scan in run.failed)
        if removed:
            run.bar.write(f"removed the features, made otherwise, of {removed} scans that failed")
    run.finish()


def _unfinished(targets: dict[Path, Path], finished: Finished) -> dict[Path, Path]:
    """Those of the scans that are still to be encoded. Prints how many are not, and which again."""
    pending = {scan: to for scan, to in targets.items() if to not in finished.files}
    done, changed = len(targets) - len(pending), len(finished.changed & {*targets.values()})
    if done:
        print(f"{done} of {len(targets)} scans are finished already; --overwrite repeats them")
    if changed:
        print(
            f"{changed} of {len(targets)} scans have changed, or are not those that were encoded "
            "before; they are encoded again"
        )
    return pending


def _targets(scans: tuple[Path, ...], output: Path, format: Format) -> dict[Path, Path]:
    """The file for each scan. Raises InputError where two would write the same."""
    if not scans:
        raise InputError("No scans were given: concerto encode SCAN... -o DIR.")
    targets: dict[Path, Path] = {}
    for given in scans:
        for scan in find_scans(given) if given.is_dir() else [given]:
            inside = scan.relative_to(given) if given.is_dir() else Path(scan.name)
            # In a folder of scans may lie what an earlier run wrote there.
            if not given.is_dir() or not holds_features(scan):
                targets[scan] = (output / inside).with_suffix(f".{format}")
    if not targets:
        raise InputError(
            f"There are only features, coord and feat alone, in {' and '.join(map(str, scans))}. "
            "Name one by one those that are scans."
        )
    sources: dict[Path, Path] = {}
    own = {scan.resolve() for scan in targets}
    for scan, target in targets.items():
        if target in sources:
            raise InputError(f"{sources[target]} and {scan} would both be written to {target}.")
        if target.resolve() in own:
            raise InputError(f"{target} is a scan itself; choose another folder with -o.")
        sources[target] = scan
    return targets


def _tell_left_out(scans: tuple[Path, ...], targets: dict[Path, Path]) -> None:
    """Warn of files that may be scans, but are not taken from folders. What is written there by
    this command, and what is named beside its folder, is none of them."""
    known = {file.resolve() for scan_and_target in targets.items() for file in scan_and_target}
    for folder in filter(Path.is_dir, scans):
        records = (file for file in files_in(folder, (".json",)) if file.name == RECORD)
        written = {record.parent.resolve() for record in records}
        for kind, found in (
            (f"end in {', '.join(NOT_FROM_FOLDERS)}", files_in(folder, NOT_FROM_FOLDERS)),
            ("hold features, coord and feat alone", find_scans(folder)),
        ):
            files = [
                file
                for file in found
                if file.resolve() not in known and written.isdisjoint(file.resolve().parents)
            ]
            if files:
                warnings.warn(
                    f"Left out of {folder}: {len(files)} that {kind}, such as {files[0]}. Name "
                    "one by one those that are scans.",
                    ConcertoWarning,
                    stacklevel=2,
                )


def _read_ahead(
    model: ModelOptions, scans: list[Path], workers: int
) -> Iterator[tuple[Path, Future[PointCloud], list[str]]]:
    """Each scan with its cloud to come, at most `workers` of them being read before their turn.

    And with a list of the warnings of reading it, complete when the cloud has come.
    """
    with ThreadPoolExecutor(workers) as pool:

        def start(scan: Path) -> tuple[Path, Future[PointCloud], list[str]]:
            advice: list[str] = []
            return scan, pool.submit(_read, model, scan, advice), advice

        waiting = [start(scan) for scan in scans[:workers]]
        for scan in scans[workers:]:
            yield waiting.pop(0)
            waiting.append(start(scan))
        yield from waiting


def _read(model: ModelOptions, scan: Path, advice: list[str]) -> PointCloud:
    with into(advice):
        return model.read(scan)


@dataclass
class _Run:
    """What has become of the scans, shown by a bar and told at the end."""

    total: int
    failed: dict[Path, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=self.total, unit="scan", disable=self.total < 2)

    @contextmanager
    def scan(self, scan: Path, advice: list[str]) -> Iterator[None]:
        """Note a failure, with its traceback under --debug, and go on; say what is advised.

        advice: what came of reading the scan. Encoding it adds to that.
        """
        with into(advice):
            try:
                yield
            except Exception as error:
                reason = str(error) if isinstance(error, ConcertoError) else f"{error!r}"
                self.failed[scan] = reason if str(scan) in reason else f"{scan}: {reason}"
                if DEBUG in sys.argv:
                    traceback.print_exc()
        for message in dict.fromkeys(advice):
            if message not in self.told:
                self.bar.write(in_flags(f"warning: {scan}: {message}"), file=sys.stderr)
            self.told.add(message)
        self.bar.update()

    def done(self, target: Path, features: Tensor) -> None:
        """Print what was written."""
        self.bar.write(f"{target}  {features.shape[0]} x {features.shape[1]}")

    def finish(self) -> None:
        """Raise InputError where scans failed, with each one's reason."""
        self.bar.close()
        if self.failed and self.total == 1:
            raise InputError(*self.failed.values())
        if self.failed:
            reasons = "".join(f"\n  {reason}" for reason in self.failed.values())
            raise InputError(f"{len(self.failed)} of {self.total} scans failed:{reasons}")


def _share() -> tuple[int, int]:
    """Which of how many processes this is, as accelerate and torchrun tell each of them.

    Raises InputError where that does not add up.
    """
    rank, processes = launcher_number("RANK", 0), launcher_number("WORLD_SIZE", 1)
    if rank >= processes:
        raise InputError(
            f"The environment says that this is process {rank}, from 0, of {processes}: set both "
            "RANK and WORLD_SIZE as torchrun does, or unset both."
        )
    return rank, processes
