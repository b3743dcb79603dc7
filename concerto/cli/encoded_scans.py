"""Which scan a file of features is of, told by the scan's size and time: neither file is read.

A scan may be written anew, and another may go by its name: from elsewhere, or with a time that is
older than the features of the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """A scan, as it was found.

    size: in bytes. changed: when it was last written (ns). other: when the file in the place of its
    features was last written (ns), if that was of another scan, or of this one before it changed.
    """

    size: int
    changed: int
    other: int | None = None


def find_sources(
    folder: Path, targets: Mapping[Path, Path], written: Mapping[Path, int], noted: Any
) -> dict[Path, Source]:
    """For each target its scan, where there is one, as it is now.

    targets: the file of features of each scan. written: when those that are there were last written
    (ns). noted: what `as_noted` gave the last time; nothing where nobody has noted it.
    """
    before = noted if isinstance(noted, dict) else {}
    sources = {}
    for scan, target in targets.items():
        known = before.get(_name(folder, target))
        try:
            status = scan.stat()
        except OSError:
            continue
        now = Source(status.st_size, status.st_mtime_ns)
        file = written.get(target)
        if file is not None and not _is_of(now, file, known):
            now = replace(now, other=file)
        sources[target] = now
    return sources


def as_noted(folder: Path, sources: Mapping[Path, Source]) -> dict[str, list[int | None]]:
    """What to keep beside the features, as JSON has it."""
    return {_name(folder, target): list(astuple(source)) for target, source in sources.items()}


def _is_of(scan: Source, written: int, known: Any) -> bool:
    """Whether a file of features, written then, is of a scan as it is now.

    Times of two files, which may lie on different file systems, are compared only where nothing
    was noted.
    """
    if not isinstance(known, list) or len(known) != 3:
        return written >= scan.changed
    return known[:2] == [scan.size, scan.changed] and known[2] != written


def _name(folder: Path, target: Path) -> str:
    return target.relative_to(folder).as_posix()
