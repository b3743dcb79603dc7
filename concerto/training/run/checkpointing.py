"""Checkpoints of a run: one file each, whole or not there at all, the last few kept.

A file is written beside its place, brought to the disk, and renamed, so that neither a kill nor a
power cut leaves half of one under its name. Its checksums are looked at before it is believed, and
a damaged one gives way to the one before. Files hold tensors and plain values and are read with
`weights_only=True` alone.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from concerto.errors import CheckpointError, ConcertoError, ConcertoWarning, InputError
from concerto.files import replacing
from concerto.weight_files import read_pickle

FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d+)\.pt")
_HALF = ".step-*.pt"


def list_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run's folder, oldest first."""
    files = [file for file in (run / FOLDER).glob("step-*.pt") if _NAME.fullmatch(file.name)]
    return sorted(files, key=step_of)


def step_of(file: Path) -> int:
    """How many steps were done when a checkpoint was written, by its name."""
    match = _NAME.fullmatch(file.name)
    if match is None:
        raise CheckpointError(f"{file} is not named as a checkpoint is, step-NUMBER.pt.")
    return int(match[1])


def write_checkpoint(run: Path, step: int, content: Mapping[str, Any], keep: int) -> Path:
    """Write one checkpoint, then drop all but the latest `keep`.

    Raises CheckpointError where it cannot be written; the earlier ones are then as they were.
    """
    file = run / FOLDER / f"step-{step:08d}.pt"
    try:
        with replacing(file) as half, half.open("wb") as stream:
            torch.save(dict(content), stream)
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(file.parent)
    except (OSError, InputError, RuntimeError) as error:
        # torch tells of a full disk in words of its own, on top of the system's.
        raise CheckpointError(_unwritten(file, error)) from error
    kept = [old for old in list_checkpoints(run) if old != file][-(keep - 1) :] if keep > 1 else []
    for old in list_checkpoints(run):
        if old not in (*kept, file):
            old.unlink(missing_ok=True)
    return file


def read_run_checkpoint(file: Path) -> dict[str, Any]:
    """What `write_checkpoint` was given; tensors are mapped, on the CPU.

    Raises CheckpointError where the file is damaged or something else.
    """
    content = read_pickle(file)
    if not isinstance(content, dict) or "module" not in content:
        raise CheckpointError(f"{file} is no checkpoint of a run of this library.")
    return content


def map_checkpoint(file: Path) -> dict[str, Any]:
    """The same of a file already found whole, without a second look at its checksums.

    Raises CheckpointError where this machine does not see the file.
    """
    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise CheckpointError(
            f"Cannot read {file}: {error.strerror}. The run's folder must lie where all machines "
            "of the run see it."
        ) from error
    return content


def latest_checkpoint(run: Path) -> tuple[Path, dict[str, Any]] | None:
    """The latest whole checkpoint of a run and what is in it; None where there is none at all.

    Warns of damaged ones that are later. Raises CheckpointError where all are damaged.
    """
    files = list_checkpoints(run)
    problems = []
    for file in reversed(files):
        try:
            content = read_run_checkpoint(file)
        except (ConcertoError, OSError) as error:
            problems.append(str(error))
            continue
        if problems:
            warnings.warn(
                f"{' '.join(problems)} Going back to {file.name}.", ConcertoWarning, stacklevel=2
            )
        return file, content
    if problems:
        raise CheckpointError(
            f"No checkpoint of {run} can be read. {' '.join(problems)} "
            "Begin anew in another folder."
        )
    return None


def clear_way(run: Path, step: int) -> None:
    """Remove what a killed process left half written, and set later, damaged checkpoints aside."""
    for half in (run / FOLDER).glob(_HALF):
        half.unlink(missing_ok=True)
    for file in list_checkpoints(run):
        if step_of(file) > step:
            os.replace(file, file.with_name(file.name + ".damaged"))


def _sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritten(file: Path, error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    reason = cause.strerror if isinstance(cause, OSError) else str(error).split("\n")[0]
    sizes = [old.stat().st_size for old in list_checkpoints(file.parents[1])]
    size = f", the last checkpoint takes {sizes[-1] / 1e9:.2f} GB" if sizes else ""
    free = "unknown"
    if file.parent.exists():
        free = f"{shutil.disk_usage(file.parent).free / 1e9:.2f} GB"
    return (
        f"Cannot write {file}: {reason} ({free} free{size}). Earlier checkpoints are whole. Make "
        "room there, or keep fewer of them."
    )
