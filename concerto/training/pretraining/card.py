"""The card of a pretrained encoder: what the run's own record says of it, and nothing more."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concerto.card import model_card, public_name
from concerto.config import ConcertoConfig
from concerto.training.recipes import RECIPES
from concerto.training.run.folder import as_json, flat

# What the card tells of the beginning and the end of a run: means over this share of its lines.
SHARE = 0.1
# What has a row of its own, and last where features are kept, which says nothing to others.
APART = (
    "data",
    "split",
    "start_from",
    "recipe",
    "loop.batch_size",
    "loop.precision",
    "images.cache",
)
JOINT = "joint 2D-3D self-supervision ([Concerto](https://arxiv.org/abs/2510.23607))"
POINTS_ALONE = "self-supervision on points alone ([Sonata](https://arxiv.org/abs/2503.16429))"
SHOWN = (
    "loss",
    "mask",
    "roll_mask",
    "unmask",
    "cross_modal",
    "agreement",
    "prototype_use",
    "feature_rank",
    "grad_norm",
)


@dataclass(frozen=True)
class RunRecord:
    """What a run wrote down. settings: the recipe. loop: batch size, precision and the like.
    step: how many were done. entries: lines of the log with losses, in order. changes: of settings
    on the way, as `read_run` has them."""

    settings: Mapping[str, Any]
    loop: Mapping[str, Any]
    versions: Mapping[str, str]
    step: int
    entries: Sequence[Mapping[str, Any]]
    changes: Sequence[Mapping[str, Any]] = ()


def run_card(
    config: ConcertoConfig, record: RunRecord, branch: str, source: str, curves: str | None
) -> str:
    """Markdown with the Hub's metadata.

    branch: "student" or "teacher", whose encoder it is. source: what `from_pretrained` is given in
    the example. curves: the picture that lies beside, if any.
    """
    settings, loop = record.settings, record.loop
    data = ", ".join(map(public_name, settings["data"]))
    picture = f"\n![Curves of the run]({curves})\n" if curves else ""
    started = settings["start_from"]
    images = bool(settings["objective"]["cross_modal_weight"]) and settings["views"]["use_images"]
    cosine = ", the\ncross-modal one 10 · (1 - cosine)" if images else ""
    rows = {
        "recipe": settings["recipe"],
        "data": f"{data} ({settings['split']})",
        "started from": "random weights" if started is None else public_name(started),
        "image encoder": public_name(settings["images"]["name"] or "none"),
        "steps": f"{record.step:,} of {loop['steps']:,}, of {loop['batch_size']} samples",
        "epochs": _epochs(record.entries),
        "precision": loop["precision"],
        "weights": f"the {branch}'s, of the last checkpoint",
        "made with": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }
    return f"""{model_card(config, source)}
## How it was trained

By {JOINT if images else POINTS_ALONE}, with
`python -m concerto.training.pretrain`. All of this is from the run's own record.

| | |
|---|---|
{_lines(f"| {name} | {value} |" for name, value in rows.items())}

{_unlike_recipe(record)}{"".join(map(_turn, record.changes))}

| | first | last |
|---|---|---|
{_lines(_losses(record.entries))}

Means over the first and the last tenth of the log. Losses are cross-entropies in nats{cosine}.
Agreement and prototype use (0 to 1) and feature rank would be near 0, 0 and 1 had training
collapsed.
{picture}
## Licence

{_licence(config)}

## Limits

Nothing but the losses above was measured: how good the features are for a task is not known. They
are best for scenes like those that they were trained on.
"""


def _epochs(entries: Sequence[Mapping[str, Any]]) -> str:
    return f"{entries[-1]['epoch']:.3g}" if entries and "epoch" in entries[-1] else "not known"


def _losses(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    count = max(1, round(SHARE * len(entries)))
    for name in SHOWN:
        if any(name in entry for entry in entries):
            first, last = (_mean(part, name) for part in (entries[:count], entries[-count:]))
            yield f"| {name.replace('_', ' ')} | {first} | {last} |"


def _mean(entries: Sequence[Mapping[str, Any]], name: str) -> str:
    values = [float(entry[name]) for entry in entries if name in entry]
    return f"{sum(values) / len(values):.4g}" if values else "-"


def _unlike_recipe(record: RunRecord) -> str:
    """Where the run left its recipe."""
    recipe = RECIPES[record.settings["recipe"]]((), Path())
    defaults = dict(flat(as_json(dataclasses.asdict(recipe))))
    own = dict(flat({**record.settings, "loop": record.loop}))
    changed = {
        name.removeprefix("loop."): value
        for name, value in own.items()
        if name not in APART and value != defaults.get(name, value)
    }
    if not changed:
        return "All other values are the recipe's."
    listed = ", ".join(f"`{name}` {_public(value)}" for name, value in changed.items())
    return f"Other than in the recipe: {listed}."


def _turn(change: Mapping[str, Any]) -> str:
    """What was changed where the run was stopped and went on."""
    listed = ", ".join(
        f"`{name.partition('.')[2]}` {_public(now)} ({_public(before)} before)"
        for name, (before, now) in change["settings"].items()
    )
    return f" Changed after step {change['step']:,}: {listed}."


def _public(value: Any) -> str:
    """A value, or several; of a path the last part alone."""
    if isinstance(value, list):
        return f"[{', '.join(map(_public, value))}]"
    return public_name(value) if isinstance(value, str) and "/" in value else str(value)


def _licence(config: ConcertoConfig) -> str:
    stated = "None is stated" if config.license is None else f"Weights: {config.license}"
    source = (
        ""
        if config.base_model is None
        else f" They derive from {config.base_model}, whose licence they inherit."
    )
    return (
        f"{stated}.{source} The terms of the data that it was trained on may bind what is made "
        "from them."
    )


def _lines(lines: Iterator[str]) -> str:
    return "\n".join(lines)
