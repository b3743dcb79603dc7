"""`concerto ask`: where in a scan is what a few words say?"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from concerto.cli.columns import shorten
from concerto.cli.drawing import check_drawable, draw, paint
from concerto.cli.options import ScanOptions
from concerto.errors import InputError
from concerto.files import check_kept
from concerto.hierarchy import Hierarchy
from concerto.io import write
from concerto.loading import from_pretrained
from concerto.palette import distinct_colors
from concerto.points.point_cloud import PointCloud
from concerto.translator import Segments, Translator
from concerto.translator.texts import as_texts
from concerto.visualize.heat import heat_colors

DEFAULT = "concerto-tiny-words"
# Of points left out, as in heat maps.
BLACK = (0, 0, 0)
# Bytes of a text that a file's name takes: most systems allow 255 in all.
NAME_BYTES = 60


def ask(
    scan: Annotated[Path, tyro.conf.arg(metavar="SCAN")],
    texts: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT...")],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")],
    templates: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SENTENCE...")] = ("{}",),
    model: tyro.conf.OmitArgPrefixes[ScanOptions] = ScanOptions(model=DEFAULT),
) -> None:
    """Colour a scan by how near each point is to a text, bright where most.

    Of several texts each gets a file of its own, out-a-chair.png beside out.png, which has each
    point in the colour of the text that it is nearest to.

    Args:
        scan: A file of points.
        texts: What to look for, each in quotes: "a chair" "a wooden table".
        output: out.png, out.html or out.ply; in PLY each point also has its cosines with the
            texts, feature_0 and so on, and the nearest one's number, class.
        templates: Sentences to put the texts in, such as "a photo of a {}.", averaged.
        model: The translator.
    """
    check_drawable(output, scan)
    if not texts:
        raise InputError('No texts were given: concerto ask SCAN "a chair" "a table" -o FILE.')
    asked = as_texts(texts)
    if len(set(asked)) < len(asked):
        raise InputError("A text is given twice; ask for each once.")
    maps = _paths(output, asked) if len(asked) > 1 else []
    check_kept(scan, *maps)
    cloud = model.read(scan)
    options = model.inference()
    translator = load_translator(model)
    # Asked for again below, from what is kept: what is wrong with it is told before encoding.
    translator.texts(asked, templates, translator.device)

    def read(hierarchy: Hierarchy) -> Tensor:
        cosines = translator(hierarchy, asked, templates=templates)
        assert isinstance(cosines, Tensor)
        # Raised by one: points left out get zeros, and are nearest to no text.
        nearest = torch.ones_like(cosines[:, :1])
        if len(asked) > 1:
            found = translator.segment(hierarchy, asked, templates=templates)
            assert isinstance(found, Segments)
            nearest = found.label[:, None].to(cosines) + 1
        return torch.cat([cosines, nearest], dim=1)

    answer = translator.encoder.infer(cloud, read, progress=True, **options)
    assert isinstance(answer, Tensor)
    scores, nearest = answer[:, :-1].cpu(), answer[:, -1].long().cpu() - 1
    if len(asked) == 1:
        colors = paint(cloud, scores[:, 0], heat_colors)
    else:
        for number, path in enumerate(maps):
            draw(path, cloud, paint(cloud, scores[:, number], heat_colors), asked[number])
            print(path)
        palette = torch.tensor([*distinct_colors(len(asked)), BLACK], dtype=torch.float32) / 255
        colors = palette[nearest]
    if output.suffix.lower() == ".ply":
        colored = PointCloud(cloud.coord, colors, cloud.normal)
        write(output, colored, features=scores, classes=nearest)
    else:
        draw(output, cloud, colors, ", ".join(asked))
    _tell(cloud, asked, scores, nearest)
    print(output)


def load_translator(model: ScanOptions) -> Translator:
    """The translator that the options name. Raises InputError where they name something else."""
    loaded = from_pretrained(model.model, device=model.place(), dtype=model.dtype)
    if not isinstance(loaded, Translator):
        raise InputError(
            f"{model.model} knows no words. Pass a translator as --model; "
            "`python -m concerto.training.translate` trains one on any encoder."
        )
    return loaded


def _paths(output: Path, texts: list[str]) -> list[Path]:
    """A file for each text, beside the one for all."""
    words = [_file_word(text) for text in texts]
    often = Counter(words)
    names = [word if often[word] == 1 else f"{word}-{n}" for n, word in enumerate(words)]
    if len(set(names)) < len(names):
        # "A chair", "a chair" and "a chair 1".
        names = [f"{word}-{n}" for n, word in enumerate(words)]
    return [output.with_name(f"{output.stem}-{name}{output.suffix}") for name in names]


def _file_word(text: str) -> str:
    """A text as part of a file's name, its beginning if it is long."""
    word = re.sub(r"\W+", "-", text.lower()).strip("-")
    return word.encode()[:NAME_BYTES].decode(errors="ignore").strip("-") or "text"


def _tell(cloud: PointCloud, texts: list[str], scores: Tensor, nearest: Tensor) -> None:
    """For each text where it fits best, and the share of points nearest to it."""
    shown = [shorten(text) for text in texts]
    width = max(map(len, shown))
    colors = distinct_colors(len(texts))
    for number, text in enumerate(shown):
        # Points left out have cosines of 0, which may be more than any other has.
        best = int(scores[:, number].masked_fill(nearest < 0, -torch.inf).argmax())
        at = " ".join(f"{value:.2f}" for value in cloud.coord[best].tolist())
        line = f"{number:>4}  {text:<{width}}  best {float(scores[best, number]):.3f} at {at}"
        if len(texts) > 1:
            share = float((nearest == number).float().mean())
            line += f"  nearest for {share:.1%}  #{''.join(f'{c:02x}' for c in colors[number])}"
        print(line)
