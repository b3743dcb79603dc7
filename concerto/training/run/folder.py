"""A run's folder, opened: begun where it is new, gone on with where asked, refused elsewhere."""

from __future__ import annotations

import json
import platform
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import concerto
from concerto.errors import CheckpointError, ConcertoWarning, ConfigError
from concerto.files import check_writable, write_json
from concerto.training.run.checkpointing import (
    clear_way,
    latest_checkpoint,
    list_checkpoints,
    step_of,
)
from concerto.training.run.metrics import forget_after, read_metrics

RUN_FILE = "run.json"
# What a setting is where there is none of its name.
ABSENT = "absent"
# By these a run knows its frozen encoder. Those of earlier versions kept neither.
WEIGHTS, MODEL = "task.weights", "task.model."


@dataclass(frozen=True)
class OpenedRun:
    """name: by which trackers know it. checkpoint: to go on from, None at the beginning."""

    name: str
    checkpoint: Path | None


def open_run(
    run: Path, settings: Mapping[str, Any], resume: bool, allow_changes: bool
) -> OpenedRun:
    """Make a run's folder ready and say where to begin. Only the main process calls it.

    settings: as JSON holds them; a resumed run must have those of its checkpoint, or be allowed
    to change. Raises ConfigError where it may not, or the folder holds a run and resume is off;
    CheckpointError where no checkpoint of it can be read.
    """
    exists = check_free(run, resume)
    found = latest_checkpoint(run) if exists else None
    step = 0
    changed: dict[str, tuple[Any, Any]] = {}
    if found is not None:
        file, content = found
        step = step_of(file)
        changed = _changed(content["settings"], settings)
        if changed:
            _allow(file, changed, allow_changes)
    elif resume:
        warnings.warn(f"{run} holds no checkpoint: beginning anew.", ConcertoWarning, stacklevel=2)
    clear_way(run, step)
    forget_after(run, step)
    known: dict[str, Any] = {"name": uuid.uuid4().hex[:8]}
    if (run / RUN_FILE).exists():
        known = read_run(run)
    # Those of this step and later were made by a run that got no further.
    changes = [change for change in known.get("changes", []) if change["step"] < step]
    if changed:
        changes.append({"step": step, "settings": changed})
    _write_run(run, known, settings, changes)
    return OpenedRun(known["name"], None if found is None else found[0])


def check_free(run: Path, resume: bool) -> bool:
    """Whether a run's folder holds one already. Raises ConfigError where it may not, InputError
    where it cannot be written."""
    check_writable(run)
    # A start that failed before its first step left nothing to lose.
    exists = bool(list_checkpoints(run) or read_metrics(run))
    if exists and not resume:
        raise ConfigError(
            f"{run} already holds a run. Go on with it by --resume, or choose another --output."
        )
    return exists


def read_run(run: Path) -> dict[str, Any]:
    """What `run.json` says: name, when it was started, versions, settings of "loop" and "task".
    And, but for older runs, "changes": after which steps which "settings" were changed, by their
    whole names, each with the value before and the value from then on.

    Raises CheckpointError where there is none.
    """
    if not (run / RUN_FILE).is_file():
        raise CheckpointError(
            f"{run} holds no {RUN_FILE}: it is not the folder of a run. Pass what --output was."
        )
    try:
        values = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run / RUN_FILE} cannot be read: {error}.") from error
    if not isinstance(values, dict) or "name" not in values:
        raise CheckpointError(f"{run / RUN_FILE} does not describe a run.")
    return values


def as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they come back from a file: tuples as lists, paths as text."""
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return plain


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its whole name, such as "views.scale", and its value."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _write_run(
    run: Path,
    known: Mapping[str, Any],
    settings: Mapping[str, Any],
    changes: Sequence[Mapping[str, Any]],
) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    values = {
        "name": known["name"],
        "started": known.get("started", now),
        "versions": {
            "concerto": concerto.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "settings": settings,
        "changes": changes,
    }
    write_json(run / RUN_FILE, values)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that differ, by name, as they were and as they are.

    Warns where nothing of the encoder is there to compare.
    """
    old, new = dict(flat(before)), dict(flat(now))
    compared = old.keys() | new.keys()
    if WEIGHTS in new and WEIGHTS not in old:
        warnings.warn(
            "The run began with a version that kept nothing of its encoder: whether this is the "
            "same cannot be checked.",
            ConcertoWarning,
            stacklevel=4,
        )
        compared = {name for name in compared if name != WEIGHTS and not name.startswith(MODEL)}
    return {
        name: (old.get(name, ABSENT), new.get(name, ABSENT))
        for name in sorted(compared)
        if old.get(name, ABSENT) != new.get(name, ABSENT)
        # An option that has come since, and is off.
        and not (name not in old and new[name] in (None, False))
    }


def _allow(file: Path, changed: Mapping[str, tuple[Any, Any]], allowed: bool) -> None:
    """Warn of changed settings. Raises ConfigError where they are not allowed."""
    named = "; ".join(f"{name} was {old!r}, is {new!r}" for name, (old, new) in changed.items())
    told = f"The settings are not those of {file}: {named}."
    if not allowed:
        raise ConfigError(
            f"{told} Give the same again, begin a new run in another --output, or pass "
            "--allow-changes."
        )
    warnings.warn(f"{told} Going on with the new ones.", ConcertoWarning, stacklevel=3)
