"""A file of weights → named tensors, whatever its format, without running anything in it.

Pickles are read with `weights_only=True` alone, and archives only when their checksums hold, which
torch itself does not look at.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concerto.errors import CheckpointError

# The key beside "config" and "state_dict" for what the published layout has no place for.
OWN_FIELDS_KEY = "concerto"
# What data parallelism and torch.compile put into the names of what is in a module.
WRAPPERS = ("module", "_orig_mod")
# What zipfile raises for an archive whose parts, names or methods cannot be. NotImplementedError is
# a RuntimeError, as is what it says of a password.
DAMAGED_ARCHIVE = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError),
    *(ValueError, RuntimeError, struct.error),
)


@dataclass(frozen=True)
class Content:
    """What a file holds: tensors by its own names, but `unwrapped`, its published config, and our
    fields beside."""

    tensors: dict[str, Tensor]
    config: dict[str, Any] | None = None
    own_fields: dict[str, Any] | None = None


def read_weights(file: Path) -> Content:
    """Read `.safetensors`, or a pickle. Tensors of an archive are mapped, not yet copied.

    Raises CheckpointError where the file is damaged, asks to run code, or holds no tensors.
    """
    if file.suffix == ".safetensors":
        return Content(unwrapped(_read_safetensors(file)))
    content = read_pickle(file)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds {type(content).__name__}, not named tensors.")
    tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(f"{file} holds no tensors.")
    config, own = (
        values if isinstance(values, dict) else None
        for values in (content.get("config"), content.get(OWN_FIELDS_KEY))
    )
    return Content(unwrapped(tensors), config, own)


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By the names that they have where no module is wrapped in another."""
    return {
        ".".join(part for part in name.split(".") if part not in WRAPPERS): tensor
        for name, tensor in tensors.items()
    }


def read_pickle(file: Path) -> Any:
    """What `torch.save` wrote, tensors of an archive mapped. Raises CheckpointError."""
    try:
        is_zip = zipfile.is_zipfile(file)
    except zipfile.BadZipFile as error:
        raise CheckpointError(_damaged(file, error)) from error
    with file.open("rb") as stream:
        start = stream.read(64)
    if not is_zip and start[:2] == b"PK":
        raise CheckpointError(_damaged(file, "the end of the archive is missing"))
    if is_zip:
        _check_archive(file)  # torch.load does not look at checksums
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is not None:
            raise CheckpointError(
                f"{file} asks to run {wanted[1]} when it is opened. Weights need no code, so it "
                "was not loaded. Ask its author for a file that torch.load(..., "
                "weights_only=True) opens, or for safetensors."
            ) from error
        raise CheckpointError(_no_weights(file, start)) from error
    except Exception as error:  # what damage makes of instructions fails in any way there is
        if not is_zip:
            raise CheckpointError(_no_weights(file, start)) from error
        raise CheckpointError(_damaged(file, error)) from error


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(_damaged(file, error)) from error


def _check_archive(file: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
    except DAMAGED_ARCHIVE as error:
        raise CheckpointError(_damaged(file, error)) from error
    if broken is not None:
        raise CheckpointError(_damaged(file, f"the checksum of {broken} is wrong"))


def _no_weights(file: Path, start: bytes) -> str:
    """What a file seems to be that torch cannot open."""
    kinds = {
        b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with `git lfs pull`",
        b"<": "a web page, not what it links to: download the file itself",
        b"ply": "a scan",
    }
    for sign, kind in kinds.items():
        if start.lstrip().startswith(sign):
            return f"{file} cannot be read as weights. It looks like {kind}."
    return _damaged(file, "neither a torch file of plain tensors nor safetensors")


def _damaged(file: Path, reason: object) -> str:
    first_line = str(reason).strip().split("\n")[0][:200].rstrip(".")
    return (
        f"{file} ({file.stat().st_size:,} bytes) cannot be read as weights: {first_line}. "
        "It may be damaged or cut short; fetch it again."
    )
