"""`prepare published`: the published folder layout, or its archives → Parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from concerto.errors import InputError
from concerto.files import check_writable
from concerto.training.prepare.archives import find_archives, unpack
from concerto.training.prepare.in_order import usable
from concerto.training.prepare.output import OutputOptions
from concerto.training.scenes.encoded import EncodedSample
from concerto.training.scenes.published import PublishedScenes, splits_of


def published(
    src: Annotated[Path, tyro.conf.arg(metavar="SRC")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    output: tyro.conf.OmitArgPrefixes[OutputOptions] = OutputOptions(),
    source_splits: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = (),
    skip_bad: bool = False,
) -> None:
    """Convert data in the published layout: splits/SPLIT.json, .npy files, images.

    Args:
        src: Folder that holds splits/ and the data, or its archives: NAME.tar.gz, or the parts
            NAME.tar.gz.00, NAME.tar.gz.01 and so on. Archives are unpacked to OUT for the time.
        out: Folder to write to: Parquet files in a folder for each split, and a card.
        source_splits: Splits of SRC to read, whose samples are all written to --split: Training of
            ARKitScenes, Area_1 Area_2 of S3DIS. By default the one that is named like --split.
        skip_bad: Leave out samples that cannot be used, with a warning, instead of stopping.
    """
    facts = {"from": "the published layout"}
    if source_splits:
        facts["splits"] = ", ".join(source_splits)
    splits = tuple(dict.fromkeys(source_splits)) or (output.split,)
    output.write(out, _samples(src, out, splits, skip_bad), facts)


def _samples(
    src: Path, out: Path, splits: Sequence[str], skip_bad: bool
) -> Iterator[EncodedSample]:
    if (src / "splits").is_dir():
        _check_splits(src, splits, src)
        yield from _converted(src, splits, skip_bad)
        return
    archives = find_archives(src) if src.is_dir() else {}
    if not archives:
        raise InputError(f"{src} holds neither splits/ nor archives, NAME.tar.gz or parts of them.")
    check_writable(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=".unpacked.") as scratch:
        # Of several archives, the last may hold the list that those before lack.
        seen = _checking_lists(splits, src) if len(archives) == 1 else None
        for parts in archives.values():
            unpack(parts, Path(scratch), seen)
        root = _root(Path(scratch), src)
        _check_splits(root, splits, src)
        yield from _converted(root, splits, skip_bad)


def _check_splits(folder: Path, splits: Sequence[str], src: Path) -> None:
    """Raise InputError where a folder lists no such split. src: what it came from."""
    known = splits_of(folder)
    missing = [split for split in splits if split not in known]
    if missing:
        raise InputError(
            f"{src} has no split {', '.join(missing)}. It has: {', '.join(known) or 'none'}. Name "
            "those to read with --source-splits."
        )


def _checking_lists(splits: Sequence[str], src: Path) -> Callable[[Path], None]:
    """What checks the lists of splits as soon as they are unpacked: the rest takes hours.

    It is called with each file. Those of a folder follow one another in an archive.
    """
    lists: list[Path] = []

    def seen(file: Path) -> None:
        if file.parent.name != "splits" and lists:
            _check_splits(lists[0].parents[1], splits, src)
            lists.clear()
        elif file.parent.name == "splits" and file.suffix == ".json":
            lists.append(file)

    return seen


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


def _converted(folder: Path, splits: Sequence[str], skip_bad: bool) -> Iterator[EncodedSample]:
    sources = {split: PublishedScenes(folder, split) for split in splits}
    total = sum(map(len, sources.values()))
    attempts = (
        # Each area of S3DIS has an office_1.
        _attempt(one, index, f"{split}/" if len(splits) > 1 else "")
        for split, one in sources.items()
        for index in range(len(one))
    )
    yield from usable(tqdm(attempts, total=total, unit="sample"), skip_bad, "sample")


def _attempt(scenes: PublishedScenes, index: int, before: str) -> EncodedSample | InputError:
    """A sample, with what to put before its names; or why it cannot be used."""
    try:
        sample = scenes.encoded(index)
        sample.check()
    except InputError as error:
        return error
    return replace(sample, name=before + sample.name, scene=before + sample.scene)
