"""What the features in a folder were made with and of, kept beside them.

A file of features tells neither its model nor its scan, so those of two models in a folder would be
taken for those of one, and those of a scan for those of another that goes by its name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from concerto.cli.encoded_scans import as_noted, find_sources
from concerto.cli.feature_files import SUFFIXES, holds_features
from concerto.cli.options import ModelOptions
from concerto.errors import InputError
from concerto.files import write_json
from concerto.folders import files_in
from concerto.hierarchy import resolve_stages
from concerto.model import Concerto

# No file of points ends so: it is not taken for a scan.
RECORD = "concerto-encode.json"
# Of each tensor; where weights are trained further, or others are merged into them, all change.
VALUES = 256
# In the record: files that are older than it may have been made otherwise.
REPLACED = "replaced"
SCANS = "scans"


@dataclass(frozen=True)
class Settings:
    """All that decides what the features of a scan are, whatever kind of file holds them."""

    model: str
    weights: str
    stages: tuple[int, ...]
    scale: float
    grid_size: float
    dtype: str
    half: bool
    color_range: tuple[float, float] | None
    columns: int | None
    normals: int | None
    viewpoint: tuple[float, float, float] | None

    @staticmethod
    def of(options: ModelOptions, encoder: Concerto, half: bool) -> Settings:
        """Those of a run, defaults filled in."""
        config = encoder.config
        stages = config.default_stages if options.stages is None else options.stages
        return Settings(
            model=options.model,
            weights=_fingerprint(encoder),
            stages=resolve_stages(stages, config.stages),
            scale=options.scale or config.coord_scale,
            grid_size=options.grid_size or config.grid_size,
            dtype=options.dtype,
            half=half,
            color_range=options.color_range,
            columns=options.columns,
            normals=options.normals,
            viewpoint=options.viewpoint,
        )


@dataclass
class Finished:
    """Which files are there already, as this run would make them.

    changed: those that are there, but of another scan, or of theirs before it changed. unwritten:
    the record to write, and where, before the first features.
    """

    files: set[Path]
    changed: set[Path]
    unwritten: tuple[Path, dict[str, Any]] | None = None

    def begin(self) -> None:
        """Write the record, if that is to be done: features come."""
        if self.unwritten is None:
            return
        place, values = self.unwritten
        there = _read(place)
        own = {name: value for name, value in values.items() if name not in (REPLACED, SCANS)}
        if there and not _differences(there, own):
            # Another process was first: what it has written since is of these settings.
            values = values | {REPLACED: _replaced(place, there)}
        write_json(place, values)
        self.unwritten = None

    def remove_outdated(self, targets: Iterable[Path]) -> int:
        """Remove those of the files that were made otherwise, and return how many they were.

        Where nothing was written, the folder is still that of the others, and keeps them.
        """
        if self.unwritten is not None:
            return 0
        known = self.files | self.changed
        removed = 0
        for file in targets:
            if file not in known and file.exists():
                # One that is held open elsewhere must not hide why its scan failed.
                with suppress(OSError):
                    file.unlink()
                    removed += 1
        return removed


def settle(
    folder: Path, settings: Settings, targets: Mapping[Path, Path], overwrite: bool
) -> Finished:
    """Compare the settings of a folder with those of a run, of which several processes may do so.

    targets: the file of features of each scan, of all processes. overwrite: whether those made
    otherwise may be replaced. Features without a record, as older versions left them, are taken as
    they are unless their scans are newer, and a folder gets none while any of them stay.

    Raises InputError where the folder holds features that were made otherwise, and with overwrite
    where such would stay beside these.
    """
    place = folder / RECORD
    # Looked for before the record, which another process writes before any features.
    written = _written(targets.values())
    before = _read(place)
    now = json.loads(json.dumps(asdict(settings)))
    noted = {} if before is None else before.get(SCANS)
    sources = find_sources(folder, targets, written, noted)
    changed = {target for target, scan in sources.items() if scan.other is not None}
    filled = bool(written)
    if before is None and filled and (not overwrite or _others(folder, targets)):
        return Finished(written.keys() - changed, changed)
    different = [] if before is None else _differences(before, now)
    if different:
        _check_replaced(folder, targets, filled, "; ".join(different), overwrite)
    scans = as_noted(folder, sources)
    if before is None or different:
        # Now nothing is finished, or all of it is to be written anew.
        return Finished(set(), set(), (place, now | {REPLACED: filled, SCANS: scans}))
    since = _replaced(place, before)
    current = {file for file, time in written.items() if since is None or time >= since}
    files, changed = current - changed, current & changed
    if isinstance(noted, dict):
        scans = noted | scans
    if scans == noted:
        return Finished(files, changed)
    return Finished(files, changed, (place, before | {REPLACED: since, SCANS: scans}))


def _written(files: Iterable[Path]) -> dict[Path, int]:
    """When those that are there were last written (ns)."""
    written = {}
    for file in files:
        with suppress(FileNotFoundError, NotADirectoryError):
            written[file] = file.stat().st_mtime_ns
    return written


def _replaced(place: Path, record: dict[str, Any]) -> int | None:
    """When a folder was taken over from other settings (ns), if it was; what is older is of those.

    True stands for the time of the record itself, until that is written once more.
    """
    replaced = record.get(REPLACED)
    if replaced is True:
        return place.stat().st_mtime_ns
    return replaced if isinstance(replaced, int) and replaced else None


def _check_replaced(
    folder: Path, targets: Mapping[Path, Path], filled: bool, different: str, overwrite: bool
) -> None:
    """Raise InputError unless a run may and will replace all features of a folder."""
    others = _others(folder, targets)
    if others:
        raise InputError(
            f"{folder} holds features made with {different}, and {len(others)} that this run does "
            f"not write, such as {others[0]}, would stay so. Choose another folder with -o, or "
            "remove them, or pass --overwrite with all scans of the folder."
        )
    if filled and not overwrite:
        raise InputError(
            f"{folder} holds features made with {different}. Choose another folder with -o, or "
            "pass --overwrite to encode these scans again."
        )


def _others(folder: Path, targets: Mapping[Path, Path]) -> list[Path]:
    """The features that a folder's record speaks of beside those of a run, sorted."""
    own = {file.resolve() for scan_and_target in targets.items() for file in scan_and_target}
    # What lies in a folder with a record of its own is spoken of there.
    within = {file.parent for file in files_in(folder, (".json",)) if file.name == RECORD}
    return [
        file
        for file in files_in(folder, SUFFIXES)
        if within.isdisjoint(_between(folder, file))
        and file.resolve() not in own
        and holds_features(file)
    ]


def _between(folder: Path, file: Path) -> list[Path]:
    """The folders that a file of a folder lies in, without that one."""
    parents = list(file.parents)
    return parents[: parents.index(folder)]


def _read(place: Path) -> dict[str, Any] | None:
    """The record; None where there is none, nothing in it where it cannot be read."""
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In the words of the command line, each setting that differs."""
    if not before:
        return [f"settings that cannot be read from {RECORD}"]
    different = [name for name, value in now.items() if before.get(name) != value]
    # Rounded weights differ, but that is told; and the same weights may go by several names.
    same_model = "weights" not in different and "dtype" not in different
    told = []
    for name in different:
        if name == "weights":
            if not {"model", "dtype"} & set(different):
                told.append(f"other weights of {now['model']}")
        elif name != "model" or not same_model:
            flag = f"--{name.replace('_', '-')}"
            told.append(f"{flag} {_shown(before.get(name))}, now {_shown(now[name])}")
    return told


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "on" if value else "off" if value is False else "by default"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _fingerprint(encoder: Concerto) -> str:
    """Of the weights, and of how the encoder centres scenes, for which there is no option."""
    digest = hashlib.sha256(encoder.config.center.encode())
    for name, values in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.flatten()[:VALUES].float().cpu().numpy().tobytes())
    return digest.hexdigest()
