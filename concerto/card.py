"""The README.md that goes beside saved weights, as the Hub shows it."""

from __future__ import annotations

from concerto.config import ConcertoConfig

PAPER = "https://arxiv.org/abs/2510.23607"


def model_card(config: ConcertoConfig) -> str:
    """Markdown with the Hub's metadata: what the weights are, and how to load them."""
    stages = ", ".join(str(stage) for stage in config.default_stages)
    width = sum(config.channels[stage] for stage in config.default_stages)
    status = "**Untrained: a seeded initialisation.**\n\n" if config.untrained else ""
    return f"""---
library_name: concerto
license: {config.license or "unknown"}
tags:
- point-cloud
- 3d
- self-supervised
- concerto
---

# A Concerto encoder

{status}A point transformer (PTv3) in the form of [Concerto]({PAPER}): for each point of a cloud,
{width} features (stages {stages}).

```python
import concerto

model = concerto.from_pretrained("path/or/repo")
feats = model(points)  # (N, 3) xyz in metres, (N, 6) with rgb, (N, 9) with rgb and normals
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


def _row(values: tuple[int, ...]) -> str:
    return " ".join(map(str, values))
