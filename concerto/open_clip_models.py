"""open_clip's models by name, mistyped names told before anything is downloaded."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from concerto.client_errors import client_errors, http_status, reason
from concerto.errors import CheckpointError, ConfigError, HubError
from concerto.extras import import_extra

HUB = "hf-hub:"
LOCAL = "local-dir:"
REPO = r"[\w.-]+/[\w.-]+"
# How alike a word is to the name of a model where it was meant for it.
MEANT = 0.75


def load_clip(name: str, what: str, **options: Any) -> tuple[Any, Any, str]:
    """open_clip, one of its models, and the name by which open_clip knows the tokenizer.

    name: "MODEL/WEIGHTS", a pair of open_clip's or a model and a file; "org/name", or
    "hf-hub:org/name", on the Hub in open_clip's layout; "local-dir:FOLDER" in that layout. what:
    its role, for messages. options: of `open_clip.create_model`.

    Raises ConfigError for names that mean nothing, with the nearest that do; HubError where the
    Hub does not give the files; MissingExtraError without open_clip.
    """
    open_clip = import_extra("open_clip", "CLIP models", "clip")
    architecture, _, weights = name.partition("/")
    if name.startswith(LOCAL) or (name.startswith(HUB) and re.fullmatch(REPO, name[len(HUB) :])):
        place = name
    elif re.fullmatch(REPO, name) and not _like_an_architecture(open_clip, architecture):
        place = HUB + name
    else:
        check_pair(open_clip, architecture, weights)
        place, options = architecture, {**options, "pretrained": weights}
    with explained(what, name):
        return open_clip, open_clip.create_model(place, **options), place


def local_part(name: str) -> str | None:
    """Of a name as `load_clip` takes it, the path that it ends in: LOCAL's, or a file of weights.

    None for what comes from elsewhere. Raises MissingExtraError without open_clip.
    """
    if name.startswith(LOCAL):
        return name.removeprefix(LOCAL)
    open_clip = import_extra("open_clip", "CLIP models", "clip")
    architecture, _, weights = name.partition("/")
    if architecture not in open_clip.list_models():
        return None
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    is_tag = weights.lower() in (tag.lower() for tag in tags)
    return weights if not is_tag and Path(weights).is_file() else None


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


def _like_an_architecture(open_clip: Any, word: str) -> bool:
    """Whether a word is one of open_clip's models, or meant for one, and no owner of a repo."""
    known = [model.lower() for model in open_clip.list_models()]
    return bool(difflib.get_close_matches(word.lower(), known, n=1, cutoff=MEANT))


def _hint(given: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"It has: {', '.join(known) or 'none'}."
