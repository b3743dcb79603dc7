"""`concerto download`: weights into the cache, ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from concerto.checkpoints import read_json
from concerto.errors import CheckpointError, HubError, InputError
from concerto.hub import Reach, locate
from concerto.known_models import find_model


def download(
    names: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")],
    /,
    revision: Annotated[str | None, tyro.conf.arg(metavar="REVISION")] = None,
    filename: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
    cache_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
) -> None:
    """Fetch weights into the cache, for machines or times without a connection.

    Prints where the weights of each name lie. What cannot be fetched is said, and the rest fetched.

    Args:
        names: Names of `concerto models`, or org/name[@revision] on the Hub.
        revision: A branch, tag or commit, instead of what the names are pinned to.
        filename: Which file of a repo that holds several.
        cache_dir: Folder to use as the cache, by default that of Hugging Face; give the same to
            from_pretrained(..., cache_dir=DIR).
    """
    if not names:
        raise InputError("No names were given: concerto download NAME...")
    reach = Reach(cache_dir=cache_dir)
    failed = {}
    for name in names:
        if (problem := _fetch(name, revision, filename, reach)) is not None:
            failed[name] = str(problem)
    if failed and len(names) == 1:
        raise HubError(*failed.values())
    if failed:
        reasons = "".join(f"\n  {name}: {problem}" for name, problem in failed.items())
        raise HubError(f"{len(failed)} of {len(names)} names failed:{reasons}")


def _fetch(name: str, revision: str | None, filename: str | None, reach: Reach) -> HubError | None:
    """Fetch and print one, and the encoder that it is a head for; returns what kept it away."""
    try:
        source = locate(name, revision=revision, filename=filename, reach=reach)
    except HubError as error:
        return error
    packaged = source.model is not None and source.model.repo is None
    print(f"{source.weights}{'  (ships with the library)' if packaged else ''}")
    if source.model is not None and source.model.over is not None:
        # A revision of our own names' repo is one of the encoder's too.
        same = revision if find_model(name) is not None else None
        return _fetch(source.model.over, same, None, reach)
    try:
        beneath = None if source.config is None else _encoder_of(read_json(source.config))
    except CheckpointError as error:
        return HubError(str(error))
    return None if beneath is None else _fetch(beneath, None, None, reach)


def _encoder_of(config: dict[str, Any]) -> str | None:
    """Where the encoder of a head or translator that was saved without it comes from."""
    if config.get("encoder_inside") is False:
        return config.get("encoder_source")
    over = config.get("over")
    return over.get("source") if isinstance(over, dict) else None
