"""`concerto segment`: a scan → the class of each point, as a picture or as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from concerto.cli.columns import shorten
from concerto.cli.drawing import SUFFIXES, draw
from concerto.cli.options import ScanOptions
from concerto.errors import InputError
from concerto.files import check_kept, check_writable
from concerto.io import WRITERS, write
from concerto.loading import from_pretrained
from concerto.palette import distinct_colors
from concerto.points.point_cloud import PointCloud
from concerto.segmenter import Segmenter
from concerto.translator import Segments, Translator
from concerto.translator.texts import as_texts

DEFAULT = "concerto-large-scannet"
# What is left out, or has no class.
GREY = 0.5


def segment(
    scan: Annotated[Path, tyro.conf.arg(metavar="SCAN")],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")],
    classes: Annotated[str | None, tyro.conf.arg(metavar="A,B,C")] = None,
    encoder: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None,
    model: tyro.conf.OmitArgPrefixes[ScanOptions] = ScanOptions(model=DEFAULT),
) -> None:
    """Say what each point of a scan is, and print each class with its share and colour.

    Args:
        scan: A file of points.
        output: out.png for a picture, out.html for a page that rotates in any browser; out.ply,
            out.npz, out.pcd or out.las for the points with their classes, as numbers in the
            order printed.
        classes: With a translator as --model: what to tell apart, as "chair,dining table,floor".
        encoder: Where the encoder of a head or adapters saved alone lies, if not where they say.
    """
    _check(output, scan)
    cloud = model.read(scan)
    options = model.inference()
    if encoder is None:
        loaded = from_pretrained(model.model, device=model.place(), dtype=model.dtype)
    else:
        loaded = Segmenter.from_pretrained(
            model.model, encoder=encoder, device=model.place(), dtype=model.dtype
        )
    if isinstance(loaded, Translator):
        names = _named(classes)
        named = loaded.segment(cloud, names, progress=True, **options)
        assert isinstance(named, Segments)
        palette = torch.tensor(distinct_colors(len(names)), dtype=torch.float32) / 255
        report(output, cloud, named.label.cpu(), names, palette, scan.name)
        return
    if not isinstance(loaded, Segmenter):
        raise InputError(
            f"{model.model} is an encoder, and knows no classes. Pass --model {DEFAULT}, "
            "concerto-tiny-words with --classes, or a segmenter of your own: "
            "python -m concerto.training.probe trains one."
        )
    if classes is not None:
        raise InputError(
            f"{model.model} has classes of its own: {', '.join(loaded.classes)}. Only a "
            "translator is told by --classes what to tell apart."
        )
    found = loaded.segment(cloud, progress=True, **options)
    assert isinstance(found, Tensor)
    report(output, cloud, found.cpu(), loaded.classes, loaded.palette, scan.name)


def _named(classes: str | None) -> tuple[str, ...]:
    """The classes of the option."""
    if classes is None:
        raise InputError(
            "A translator tells apart what it is told to: pass --classes chair,table,floor."
        )
    names = tuple(name.strip() for name in classes.split(","))
    if len(set(names)) < len(names):
        raise InputError("A class is given twice; name each once.")
    if len(as_texts(names)) == 1:
        others = [name for name in ("wall", "floor", "object") if name != names[0]]
        raise InputError(
            f"Everything would be {names[0]!r}, the only class. Name what else there is too, as in "
            f"--classes {','.join([names[0], *others])}; concerto ask shows where one text fits."
        )
    return names


def report(
    output: Path,
    cloud: PointCloud,
    found: Tensor,
    classes: tuple[str, ...],
    palette: Tensor,
    title: str,
) -> None:
    """Write the classes (N,) of the points, -1 for none, and print what there is of each.

    palette: (K, 3) float in 0-1.
    """
    colors = torch.cat([palette, torch.full((1, 3), GREY)])[found]
    if output.suffix.lower() in (".png", ".html"):
        draw(output, cloud, colors, title)
    else:
        write(output, PointCloud(cloud.coord, colors, cloud.normal), classes=found)
    counts = found[found >= 0].bincount(minlength=len(classes)).tolist()
    shown = [shorten(name) for name in classes]
    width = max(map(len, shown))
    for number in sorted(range(len(classes)), key=lambda k: -counts[k]):
        red, green, blue = (round(255 * value) for value in palette[number].tolist())
        if counts[number]:
            share = counts[number] / max(1, len(found))
            color = f"#{red:02x}{green:02x}{blue:02x}"
            print(f"{number:>4}  {shown[number]:<{width}}  {share:6.1%}  {color}")
    print(output)


def _check(output: Path, scan: Path) -> None:
    known = [*dict.fromkeys((*SUFFIXES, *WRITERS))]
    if output.suffix.lower() not in known:
        raise InputError(f"{output} must end in one of {', '.join(known)}.")
    check_writable(output.parent)
    check_kept(scan, output)
