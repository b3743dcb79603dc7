"""The README.md beside a saved segmenter, and the part of it that an evaluation fills in."""

from __future__ import annotations

from pathlib import Path

from concerto.card import PAPER, card_data
from concerto.files import write_text
from concerto.segmenter.config import SegmenterConfig

# Between these stand the results.
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
UNMEASURED = "Nothing was measured yet: `python -m concerto.training.evaluate` does."
HEADS = {
    "LinearConfig": "a linear map of its features",
    "DecoderConfig": "the decoder of Point Transformer V3",
    "KnnConfig": "a vote of the nearest labelled features",
}


def segmenter_card(config: SegmenterConfig, source: str, story: str = "") -> str:
    """Markdown with the Hub's metadata: classes, how to load it, and a place for results.

    source: what `from_pretrained` is given in the example. story: Markdown on how it was trained.
    """
    data = card_data(config.encoder)
    data.pipeline_tag = None
    data.tags = ["point-cloud", "3d", "semantic-segmentation"]
    names = ", ".join(f"{number} {name}" for number, name in enumerate(config.classes))
    unseen = ", ".join(config.unseen)
    lacking = f"\nOf {unseen} training had no example.\n" if unseen else ""
    return f"""---
{data.to_yaml()}
---

# A Concerto segmenter

A class for each point of a cloud: a [Concerto]({PAPER}) encoder and
{HEADS[type(config.head).__name__]}.

```python
import concerto

segmenter = concerto.Segmenter.from_pretrained("{source}")
classes = segmenter(points)  # (N,): numbers of the classes below
```

The {len(config.classes)} classes: {names}.
{lacking}
{story}
## Results

{BEGIN}
{UNMEASURED}
{END}
"""


def takes_results(card: Path) -> bool:
    """Whether a card has the marks that `write_results` puts Markdown between."""
    return _around_results(card) is not None


def write_results(card: Path, results: str) -> bool:
    """Put Markdown between a card's marks; returns whether it has such a place.

    Raises InputError where it cannot be written.
    """
    around = _around_results(card)
    if around is None:
        return False
    before, after = around
    write_text(card, f"{before}{BEGIN}\n{results.strip()}\n{END}{after}")
    return True


def _around_results(card: Path) -> tuple[str, str] | None:
    """What stands before and after the marks; None where they are not both there."""
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return (before, after) if begin and end else None
