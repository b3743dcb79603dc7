"""`prepare published`: the published folder layout, or its archives → Parquet."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from concerto.errors import ConcertoWarning, InputError
from concerto.files import check_writable
from concerto.training.encoded import EncodedSample
from concerto.training.prepare.archives import find_archives, unpack
from concerto.training.prepare.output import OutputOptions
from concerto.training.published_scenes import PublishedScenes, splits_of


def published(
    src: Annotated[Path, tyro.conf.arg(metavar="SRC")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    output: tyro.conf.OmitArgPrefixes[OutputOptions] = OutputOptions(),
    skip_bad: bool = False,
) -> None:
    """Convert data in the published layout: splits/SPLIT.json, .npy files, images.

    Args:
        src: Folder that holds splits/ and the data, or its archives: NAME.tar.gz, or the parts
            NAME.tar.gz.00, NAME.tar.gz.01 and so on. Archives are unpacked to OUT for the time.
        out: Folder to write to: Parquet files in a folder for each split, and a card.
        skip_bad: Leave out samples that cannot be used, with a warning, instead of stopping.
    """
    output.write(out, _samples(src, out, output.split, skip_bad), {"from": "the published layout"})


def _samples(src: Path, out: Path, split: str, skip_bad: bool) -> Iterator[EncodedSample]:
    if (src / "splits").is_dir():
        yield from _converted(PublishedScenes(src, split), skip_bad)
        return
    archives = find_archives(src) if src.is_dir() else {}
    if not archives:
        raise InputError(f"{src} holds neither splits/ nor archives, NAME.tar.gz or parts of them.")
    check_writable(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=".unpacked.") as scratch:
        for parts in archives.values():
            unpack(parts, Path(scratch))
        yield from _converted(PublishedScenes(_root(Path(scratch), src), split), skip_bad)


def _root(folder: Path, src: Path) -> Path:
    """The folder that holds splits/. Raises InputError where none does, or several do."""
    found = sorted(path.parent for path in folder.rglob("splits") if splits_of(path.parent))
    if not found:
        raise InputError(f"The archives of {src} hold no splits/, a list of samples a split.")
    if len(found) > 1:
        names = ", ".join(root.relative_to(folder).as_posix() for root in found)
        raise InputError(
            f"The archives of {src} hold {len(found)} data sets, each with splits/: {names}. Put "
            "those of each into a folder of its own, and convert one after the other."
        )
    return found[0]


def _converted(scenes: PublishedScenes, skip_bad: bool) -> Iterator[EncodedSample]:
    for index in tqdm(range(len(scenes)), unit="sample"):
        sample = _checked(scenes, index)
        if not isinstance(sample, InputError):
            yield sample
        elif skip_bad:
            warnings.warn(f"A sample is left out: {sample}", ConcertoWarning, stacklevel=2)
        else:
            raise InputError(f"{sample} skip_bad=True leaves such samples out.") from sample


def _checked(scenes: PublishedScenes, index: int) -> EncodedSample | InputError:
    """A sample, or why it cannot be used."""
    try:
        sample = scenes.encoded(index)
        sample.check()
    except InputError as error:
        return error
    return sample
