"""The README.md that goes beside saved weights, as the Hub shows it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from concerto.config import ConcertoConfig

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

PAPER = "https://arxiv.org/abs/2510.23607"
ANY_SOURCE = "path/or/repo"


def model_card(config: ConcertoConfig, source: str = ANY_SOURCE) -> str:
    """Markdown with the Hub's metadata: what the weights are, and how to load them.

    source: what `from_pretrained` is given in the card's example.
    """
    stages = ", ".join(str(stage) for stage in config.default_stages)
    width = sum(config.channels[stage] for stage in config.default_stages)
    status = "**Untrained: a seeded initialisation.**\n\n" if config.untrained else ""
    return f"""---
{card_data(config).to_yaml()}
---

# A Concerto encoder

{status}A point transformer (PTv3) in the form of [Concerto]({PAPER}): for each point of a cloud,
{width} features (stages {stages}).

```python
import concerto

model = concerto.from_pretrained("{source}")
feats = model.encode(points)  # (N, 3) xyz in metres, (N, 6) with rgb, (N, 9) with rgb and normals
```

| | |
|---|---|
| channels | {_row(config.channels)} |
| depths | {_row(config.depths)} |
| heads | {_row(config.heads)} |
| patch size | {_row(config.patch_size)} |
| voxel | {config.grid_size:g} after scaling coordinates by {config.coord_scale:g} |
| centre | {config.center} |
"""


def card_data(config: ConcertoConfig) -> ModelCardData:
    """The Hub's metadata. An unknown licence is left out, which the Hub shows as none stated."""
    from huggingface_hub import ModelCardData

    return ModelCardData(
        library_name="concerto",
        license=config.license,
        base_model=config.base_model,
        # The Hub has no task of its own for points.
        pipeline_tag="feature-extraction",
        tags=["point-cloud", "3d", "self-supervised"],
    )


def public_name(name: str) -> str:
    """The name of a model or data set, for a card. Of a path in it the last part alone is left, as
    of "scans/train", "sentence:models/mini" or "ViT-B-32/clip.pt": where things lie on a machine
    tells nothing to others."""
    if is_path(name):
        return f"`{Path(name).absolute().name}`"
    kind, _, place = name.partition(":")
    if place:
        return f"{kind}:{public_name(place)}"
    # A model and its file of weights; a folder may be called as the second half of a repo is.
    model, _, file = name.partition("/")
    if is_path(file) and not os.path.isdir(file):
        return f"{model}/`{Path(file).name}`"
    return name


def is_path(name: str) -> bool:
    """Whether a name is a path on this machine, or on that where it was written down."""
    return name.startswith(("/", ".", "~")) or (name != "" and os.path.exists(name))


def cell(text: str) -> str:
    """Text of any kind, as one cell of a Markdown table takes it."""
    return " ".join(text.split()).replace("|", "\\|")


def _row(values: tuple[int, ...]) -> str:
    return " ".join(map(str, values))
