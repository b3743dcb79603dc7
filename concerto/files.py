"""Writing files so that a reader finds the old one or the whole new one, never a part."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from concerto.errors import InputError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there at the end, or drop it on an error.

    Makes missing parent folders. Raises InputError where the place cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{target.stem}.{secrets.token_hex(4)}{target.suffix}"
        # Made with the rights of any new file. The umask, which takes some of them away, cannot be
        # read without being changed, for all threads.
        made = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        rights = os.fstat(made).st_mode & 0o777
        os.close(made)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror or error}.") from error
    try:
        yield temporary
        # safetensors puts a file of its own there, which nobody else may read.
        os.chmod(temporary, rights)
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file of UTF-8, whole or not at all. Raises InputError as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write an object as JSON to be read by people, as `write_text` does."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def check_kept(source: Path, *outputs: Path) -> None:
    """Raise InputError where one of the outputs is what is read: writing it would destroy that."""
    for output in outputs:
        if source.exists() and output.exists() and output.samefile(source):
            raise InputError(f"{output} is what is read, and would be destroyed; write elsewhere.")


def check_writable(folder: Path) -> None:
    """Raise InputError where files cannot be written to a folder; it need not exist yet."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise InputError(f"Cannot write to {folder}: {existing} is a file.")
    if not os.access(existing, os.W_OK):
        raise InputError(f"Cannot write to {folder}: no permission.")
