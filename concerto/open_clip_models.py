"""Names of open_clip's models: told from mistyped ones before anything is downloaded."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from concerto.client_errors import client_errors, http_status, reason
from concerto.errors import CheckpointError, ConfigError, HubError


def check_pair(open_clip: Any, architecture: str, weights: str) -> None:
    """Raise ConfigError, with the nearest names, where open_clip knows no such pair.

    weights: a tag, or a file.
    """
    known = sorted(open_clip.list_models())
    if architecture not in known:
        raise ConfigError(f"open_clip has no model {architecture!r}. {_hint(architecture, known)}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights.lower() not in (tag.lower() for tag in tags) and not Path(weights).is_file():
        raise ConfigError(
            f"open_clip has no weights {weights!r} of {architecture}, nor is there such a file. "
            f"{_hint(weights, tags)}"
        )


@contextmanager
def explained(what: str, name: str) -> Iterator[None]:
    """Say what kept a library from loading a model. what: the model's role, for the message."""
    try:
        yield
    except client_errors() as error:
        if os.path.isdir(name):
            raise CheckpointError(f"{name} cannot be read: {reason(error)}.") from error
        # Whatever else went wrong says of itself what to do.
        refused = http_status(error) is not None
        advice = (
            " Check the name; if the repo is private or gated, accept its terms on the Hub and "
            "log in with `hf auth login`."
        )
        raise HubError(
            f"Could not load the {what} {name}: {reason(error)}.{advice if refused else ''}"
        ) from error


def _hint(given: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"It has: {', '.join(known) or 'none'}."
