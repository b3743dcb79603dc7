"""The README.md beside prepared scenes, as the Hub shows it; the files themselves tell it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from concerto.files import write_text
from concerto.training.scenes.parquet_format import classes_in

CARD = "README.md"
# The key of a Parquet file's metadata under which JSON says how its rows were made.
FACTS = b"concerto"
SEEN = """Scenes as point clouds, each with images that see it, prepared for pretraining
point-cloud encoders with Concerto."""
LABELLED = """Scenes as point clouds with a class for each point, prepared for probing and
fine-tuning point-cloud encoders with Concerto."""
ROOMS = """Furnished rooms that are nowhere, built and rendered by `python -m
concerto.training.prepare rooms`: point clouds with a class for each point and images that see them,
for pretraining, probing and fine-tuning point-cloud encoders with Concerto."""
PRETRAIN = "accelerate launch -m concerto.training.pretrain"
PROBE = "accelerate launch -m concerto.training.probe --mode linear --encoder concerto-small"
# What the facts of splits say that they are made from, where they are made from nothing recorded.
PROCEDURAL = "procedural rooms"
OTHERS = """What holds for the recordings that it was made from, their licence or terms of use and
the consent of those in them, holds for it too."""
NOBODYS = """Nothing recorded, scanned or drawn went into it: shapes, surfaces, pictures and
light are computed from the seed, so that nobody else has rights in it, and the same command makes
the same again."""


def write_card(out: Path, repo_id: str | None) -> None:
    """Write the card of a folder of splits; replaces one that is there.

    repo_id: where the folder will lie on the Hub, or None.
    """
    write_text(out / CARD, dataset_card(out, repo_id))


def splits_in(out: Path) -> list[Path]:
    """The folders of splits that lie in a folder, if it is there, in the order of their names."""
    if not out.exists():
        return []
    return [
        folder
        for folder in sorted(out.iterdir())
        if not folder.name.startswith(".") and next(folder.glob("*.parquet"), None) is not None
    ]


def dataset_card(out: Path, repo_id: str | None) -> str:
    """Markdown with the Hub's metadata: what the data is, how it was made, how to use it."""
    from huggingface_hub import DatasetCardData

    splits = [_Split(folder) for folder in splits_in(out)]
    classes = next((split.classes for split in splits if split.classes), ())
    is_procedural = all(split.is_procedural for split in splits)
    about = ROOMS if is_procedural else LABELLED if classes else SEEN
    uses = [PRETRAIN] if is_procedural or not classes else []
    uses += [PROBE] if classes else []
    metadata = DatasetCardData(
        license=_license({split.license for split in splits}),
        pretty_name=repo_id or out.resolve().name,
        tags=["point-cloud", "3d", "segmentation" if classes else "rgb-d", "concerto"],
        configs=[
            {
                "config_name": "default",
                "data_files": [
                    {"split": split.name, "path": f"{split.name}/*.parquet"} for split in splits
                ],
            }
        ],
    )
    place = repo_id or "path/or/repo"
    return f"""---
{metadata.to_yaml()}
---

# {repo_id or out.resolve().name}

{about} A row is a sample.

| split | samples | scenes | size |
|---|---|---|---|
{_lines(split.row() for split in splits)}

| column | what it holds |
|---|---|
| `name`, `scene` | the sample's name, and that of the scene, which other samples may show too |
| `coord` | (n, 3) float32, metres, z up |
| `color` | (n, 3) uint8 |
| `normal` | (n, 3) int8, 127 being 1; zero where unknown |
| `images` | encoded images |
| `seen` | for each image the points that it sees: pixels `x` and `y`, and the row `point` |
{_label_columns(classes)}
## Use

```python
from datasets import load_dataset

rows = load_dataset("{place}", split="{splits[0].name}", streaming=True)
```

```bash
{_lines(f"{use} --data {place} --output run" for use in uses)}
```

## How it was made

{_lines(split.story() for split in splits)}

{NOBODYS if is_procedural else OTHERS}
"""


class _Split:
    """What the files of a split tell."""

    def __init__(self, folder: Path) -> None:
        import pyarrow.parquet as pq

        files = sorted(folder.glob("*.parquet"))
        self.name = folder.name
        tables = [pq.read_table(file, columns=["scene"]) for file in files]
        self.samples = sum(len(table) for table in tables)
        self.scenes = len({name for table in tables for name in table["scene"].to_pylist()})
        self.bytes = sum(file.stat().st_size for file in files)
        metadata = pq.read_metadata(files[0]).metadata or {}
        self.facts: dict[str, Any] = json.loads(metadata.get(FACTS, b"{}"))
        self.classes = classes_in(pq.read_schema(files[0]))

    @property
    def is_procedural(self) -> bool:
        """Made from nothing recorded."""
        return self.facts.get("from") == PROCEDURAL

    @property
    def license(self) -> str | None:
        """As it was stated; what is procedural is public domain where none was."""
        stated: str | None = self.facts.get("license")
        return stated or ("cc0-1.0" if self.is_procedural else None)

    def row(self) -> str:
        """Its row of the table."""
        return f"| {self.name} | {self.samples} | {self.scenes} | {self.bytes / 1e6:.0f} MB |"

    def story(self) -> str:
        """How it was made, as an item of a list."""
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items())
        return f"- {self.name}: {facts or 'nothing is known'}"


def _label_columns(classes: tuple[str, ...]) -> str:
    """The rows of the columns of labels, and the names of the classes, where there are any."""
    if not classes:
        return ""
    names = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    return (
        "| `segment` | the class of each point, -1 where it has none |\n"
        "| `instance` | the number of the thing that each point belongs to, -1 where none |\n"
        f"\nThe {len(classes)} classes: {names}. `python -m concerto.training.probe` learns them.\n"
    )


def _license(licenses: set[str | None]) -> str | None:
    """Of splits of these licences together; each split's story says its own."""
    if None in licenses:
        return None
    return licenses.pop() if len(licenses) == 1 else "other"


def _lines(lines: Any) -> str:
    return "\n".join(lines)
