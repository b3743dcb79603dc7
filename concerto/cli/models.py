"""`concerto models`: the names that can be loaded."""

from __future__ import annotations

from concerto.known_models import MODELS


def models() -> None:
    """List the names that can be loaded, where their weights lie, and what they are for."""
    width = max(len(model.name) for model in MODELS)
    for model in MODELS:
        where = f"{model.repo}/{model.filename}" if model.repo else "-"
        if model.unavailable is None and model.repo is None:
            where = "in the package"
        print(f"{model.name:<{width}}  {where}")
        print(f"{'':<{width}}  {model.about}")
