"""The README.md that goes beside a saved translator."""

from __future__ import annotations

from concerto.card import ANY_SOURCE, PAPER, card_data, cell, is_path, public_name
from concerto.translator.config import TranslatorConfig


def translator_card(
    config: TranslatorConfig, repo: str = ANY_SOURCE, how: str | None = None
) -> str:
    """Markdown with the Hub's metadata.

    repo: what `from_pretrained` is given in the example. how: a section on the training.
    """
    data = card_data(config.encoder)
    data.pipeline_tag = "zero-shot-classification"
    data.tags = ["point-cloud", "3d", "open-vocabulary"]
    source = config.encoder_source or ""
    # Where on a machine the encoder lies, or lay, is nobody's business.
    if is_path(source):
        source = ""
    if "/" in source:
        data.base_model = source.partition("@")[0]
    stages = ", ".join(map(str, config.chosen))
    origin = f", from {source}" if source else ""
    inside = "in the file" if config.encoder_inside else "fetched when it is loaded"
    untrained = "**Its encoder is untrained.**\n\n" if config.encoder.untrained else ""
    return f"""---
{data.to_yaml()}
---

# A Concerto translator

{untrained}Ask a point cloud in words: one linear map from the features of a
[Concerto]({PAPER}) encoder to the space of a text tower.

```python
import concerto

translator = concerto.Translator.from_pretrained("{repo}")
scores = translator(points, ["a chair", "a wooden table"])  # (N, 2) cosines
```

| | |
|---|---|
| encoder | {"-".join(map(str, config.encoder.channels))} channels{origin}; {inside} |
| map | stages {stages}: {config.features} → {config.width} |
| text tower | {public_name(config.text_tower)} |
{_taught(config)}{f"{chr(10)}{how}" if how else ""}"""


def _taught(config: TranslatorConfig) -> str:
    """Rows on the names that labels taught the map, where they did."""
    if not config.names:
        return ""
    rows = f"| names taught | {', '.join(map(cell, config.names))} |\n"
    if config.name_templates != ("{}",):
        rows += f"| taught in | {', '.join(map(cell, config.name_templates))} |\n"
    return rows
