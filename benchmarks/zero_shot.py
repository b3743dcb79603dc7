"""How well a translator names what it was never told: `python -m benchmarks.zero_shot MODEL DATA`.

Each labelled scene is segmented by the names of its classes, then by other words for them. mIoU is
over all points together; chance is that of guessing each class as often as it occurs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from benchmarks.synonyms import SYNONYMS
from concerto.errors import InputError
from concerto.training.scenes.sources import SceneSource, open_scenes
from concerto.training.scores.confusion import Confusion
from concerto.training.views.degrade import degrade
from concerto.translator import Translator


@dataclass(frozen=True)
class ZeroShot:
    """mIoU in 0-1 over the classes that occur: by the classes' names, by one set of other words
    after another, and of chance."""

    names: float
    synonyms: tuple[float, ...]
    chance: float

    @property
    def kept(self) -> float:
        """The mean with other words, over that with the names."""
        return float(np.mean(self.synonyms)) / self.names


def zero_shot(
    translator: Translator,
    source: SceneSource,
    synonyms: Mapping[str, Sequence[str]] = SYNONYMS,
    templates: Sequence[str] | None = None,
    poorer: bool = False,
) -> tuple[ZeroShot, list[Confusion]]:
    """Scores over all scenes, and the table of each set of words, that of the names first.

    synonyms: other words by class, asked for one set after another: the first of each, then the
    second; where a class has fewer, its last again. poorer: of degraded scenes. Raises InputError
    without labels.
    """
    classes = source.classes
    if not classes:
        raise InputError("These scenes have no labels; the benchmark needs them.")
    asked = [list(classes), *_sets(classes, synonyms)]
    tables = [Confusion(len(classes)) for _ in asked]
    config = translator.encoder.config
    for number in range(len(source)):
        sample = source[number]
        if sample.segment is None:
            continue
        cloud, segment = sample.cloud(), sample.segment
        if poorer:
            voxel = config.grid_size / config.coord_scale
            cloud, rows = degrade(cloud, voxel, np.random.default_rng(number))
            segment = segment[rows]
        # Encoded once, asked as often as there are sets of words.
        with torch.no_grad():
            hierarchy = translator.encoder.hierarchy(cloud)
        for words, table in zip(asked, tables, strict=True):
            found = translator.segment(hierarchy, words, templates=templates)
            assert not isinstance(found, list)
            table.add(segment, found.label.cpu().numpy())
    scores = [_miou(table) for table in tables]
    return ZeroShot(scores[0], tuple(scores[1:]), chance(tables[0])), tables


def chance(table: Confusion) -> float:
    """mIoU of guesses drawn as often as each class occurs: p² over 2p - p²."""
    share = table.matrix.sum(1) / table.matrix.sum()
    share = share[share > 0]
    return float((share / (2 - share)).mean())


def run(
    model: Annotated[str, tyro.conf.arg(metavar="MODEL")],
    data: Annotated[str, tyro.conf.arg(metavar="DATA")],
    /,
    split: str = "test",
    templates: tuple[str, ...] = ("{}",),
    synonyms: Path | None = None,
    degrade: bool = False,
) -> None:
    """Print zero-shot mIoU by the classes' names and by other words.

    Args:
        model: A translator.
        data: Labelled scenes, prepared.
        split: Of the data.
        templates: Sentences to put the words in.
        synonyms: A file of lines "class: word, word", instead of the words built in.
        degrade: Make the scenes poorer first: sparser, without colours, without normals.
    """
    words = SYNONYMS if synonyms is None else _read(synonyms)
    source = open_scenes(data, split=split)
    translator = Translator.from_pretrained(model)
    result, tables = zero_shot(translator, source, words, templates, degrade)
    table = [t.scores() for t in tables]
    print(f"{'class':<16}{'points':>10}{'name':>8}{'others':>8}  words")
    for k, name in enumerate(source.classes):
        if not table[0].points[k]:
            continue
        others = float(np.mean([scores.iou[k] for scores in table[1:]]))
        print(
            f"{name:<16}{table[0].points[k]:>10,}{table[0].iou[k]:>8.3f}{others:>8.3f}  "
            f"{', '.join(words.get(name, (name,)))}"
        )
    others = float(np.mean(result.synonyms))
    print(f"mIoU  names {result.names:.3f}  other words {others:.3f}  chance {result.chance:.3f}")
    times = others / result.chance
    print(f"other words keep {result.kept:.2f} of it, and are {times:.1f} times chance")


def _sets(classes: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> list[list[str]]:
    known = [tuple(synonyms.get(name, (name,))) for name in classes]
    return [[words[min(k, len(words) - 1)] for words in known] for k in range(max(map(len, known)))]


def _miou(table: Confusion) -> float:
    """Over the classes that occur in truth."""
    absent = np.flatnonzero(table.matrix.sum(1) == 0).tolist()
    return table.scores(skip=absent).miou


def _read(file: Path) -> dict[str, tuple[str, ...]]:
    words = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, _, listed = line.partition(":")
        if listed.strip():
            words[name.strip()] = tuple(word.strip() for word in listed.split(","))
    return words


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    tyro.cli(run, prog="python -m benchmarks.zero_shot")
