"""Archives that were cut into parts: `NAME.tar.gz.00`, `.01`, … read one after another as one.

They are unpacked as a stream, so that no joined copy is made, and only below the given folder.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from concerto.errors import InputError
from concerto.folders import natural

ARCHIVE = re.compile(r"(?P<name>.+\.(tar\.gz|tgz))(\.(?P<part>[^.]+))?", re.IGNORECASE)


def find_archives(folder: Path) -> dict[str, list[Path]]:
    """The archives in a folder and below: their parts, in order, by name. Hidden folders are left
    out, as downloads keep notes in them that are named like the archives."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*"), key=lambda file: natural(file.as_posix())):
        place = file.relative_to(folder)
        match = ARCHIVE.fullmatch(place.as_posix())
        hidden = any(part.startswith(".") for part in place.parts)
        if match is not None and not hidden and file.is_file():
            found.setdefault(match["name"], []).append(file)
    return found


def unpack(parts: Sequence[Path], folder: Path, seen: Callable[[Path], None] | None = None) -> None:
    """Unpack the files of an archive below a folder. Links and devices in it are passed over.

    parts: of one archive, in order. seen: called with each file that was written.

    Raises InputError where they are damaged or not all there, where a name leads out of the folder,
    or where the folder cannot be written.
    """
    total = sum(part.stat().st_size for part in parts)
    name = parts[0].name
    with tqdm(desc=name, total=total, unit="B", unit_scale=True) as bar:
        stream = io.BufferedReader(_Joined(parts, bar), 2**20)
        try:
            with tarfile.open(fileobj=stream, mode="r|gz") as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.isreg() else None
                    if content is not None:
                        file = _below(folder, member.name, name)
                        _write(file, content)
                        if seen is not None:
                            seen(file)
                    # It keeps all, for hard links, which are passed over: gigabytes in the end.
                    archive.members.clear()  # type: ignore[attr-defined]
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise InputError(
                f"{name} cannot be unpacked: {error}. Are all of its {len(parts)} parts there, "
                "and whole?"
            ) from error


class _Joined(io.RawIOBase):
    """Files one after another."""

    def __init__(self, parts: Sequence[Path], bar: tqdm[None]) -> None:
        self._waiting, self._bar = list(parts), bar
        self._current: io.BufferedReader | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while self._current is not None or self._waiting:
            if self._current is None:
                self._current = self._waiting.pop(0).open("rb")
            count = self._current.readinto(buffer)
            if count:
                self._bar.update(count)
                return count
            self._current.close()
            self._current = None
        return 0


def _below(folder: Path, name: str, archive: str) -> Path:
    """Where a member goes. Raises InputError where its name leads out of the folder."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
        raise InputError(f"{archive} is refused: it holds {name!r}, which leads out of its folder.")
    return folder.joinpath(*parts)


def _write(file: Path, content: IO[bytes]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as target:
            shutil.copyfileobj(content, target, 2**20)
    except OSError as error:
        raise InputError(f"Cannot write {file}: {error.strerror or error}.") from error
