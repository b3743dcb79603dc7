"""How a translator was trained, for its card: what the run's own record says, and nothing more."""

from __future__ import annotations

from pathlib import Path

from concerto.card import public_name
from concerto.training.run.folder import read_run
from concerto.training.run.metrics import read_metrics


def how_it_was_trained(run: Path) -> str:
    """Markdown. run: the folder of the run."""
    about = read_run(run)
    settings = about["settings"]["task"]
    entries = [entry for entry in read_metrics(run) if "loss" in entry]
    by_labels = settings["targets"] == "labels"
    features, clip = settings["image_features"], public_name(settings["clip"])
    images = public_name(features) if features else f"patches of {clip} by their value path"
    closed = settings["solver"] == "ridge"
    rows = {
        "data": ", ".join(map(public_name, settings["data"])) + f" ({settings['split']})",
        "mapped to": "texts of the classes' names" if by_labels else images,
        "solver": f"closed form, ridge {settings['ridge']:g}" if closed else "gradient descent",
        "made with": ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
    }
    if entries:
        rows["loss"] = f"{entries[-1]['loss']:.4g}, the mean squared distance of unit vectors"
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""## How it was trained

With `python -m concerto.training.translate`; all of this is from the run's own record.

| | |
|---|---|
{lines}

## Limits

Nothing but the loss above was measured: how well it names things is not known. Texts far from what
the scenes of its training hold may be answered by chance.
"""
