"""`prepare scannet` and `prepare scannet200`: ScanNet v2's meshes with their annotations.

Both read the same download; they differ in which column of ScanNet's table of labels names the
classes, and which of its numbers are evaluated.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io.pictures import read_bytes
from concerto.training.prepare.indoor.classes import class_list
from concerto.training.prepare.indoor.mesh import read_mesh
from concerto.training.prepare.indoor.segments import read_annotation
from concerto.training.prepare.indoor.splits import read_splits
from concerto.training.prepare.labelled_scenes import Converted, ConvertOptions, DataSet, convert
from concerto.training.prepare.output import Destination
from concerto.training.scenes.encoded import EncodedSample

Split = Literal["train", "val", "test"]
LISTS = {split: f"scannetv2_{split}.txt" for split in ("train", "val", "test")}
LABELS = "scannetv2-labels.combined.tsv"
TERMS = "the ScanNet authors', under http://kaldir.vc.in.tum.de/scannet/ScanNet_TOS.pdf"
# NYU's classes, which ScanNet's 20 are of, go to 40; ScanNet's own numbers are open-ended.
MOST = {"nyu40id": 40, "id": 2**15 - 1}


@dataclass(frozen=True)
class ScannetOptions:
    """Which scenes are converted, and how."""

    splits: tuple[Split, ...] = ("train", "val")
    """Official splits to write; test has no labels."""
    split_files: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder with scannetv2_train.txt, scannetv2_val.txt and scannetv2_test.txt; by default SRC."""
    labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Table of labels, scannetv2-labels.combined.tsv; by default that in SRC."""
    align: bool = True
    """Turn each scene as its file says, so that walls run along the axes; published models saw
    scenes that were not turned, and turned them at random in training."""


def scannet(
    src: Annotated[Path, tyro.conf.arg(metavar="SRC")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    scenes: tyro.conf.OmitArgPrefixes[ScannetOptions] = ScannetOptions(),
    work: tyro.conf.OmitArgPrefixes[ConvertOptions] = ConvertOptions(),
    output: tyro.conf.OmitArgPrefixes[Destination] = Destination(),
) -> None:
    """Make labelled scenes of ScanNet v2, with the 20 classes of its benchmark.

    Of each scene these are read: NAME_vh_clean_2.ply, NAME_vh_clean_2.0.010000.segs.json,
    NAME.aggregation.json and NAME.txt.

    Args:
        src: The download, with scans/ and scans_test/, or a folder of scenes.
        out: Folder to write to: Parquet files in a folder for each split, and a card.
    """
    _prepare(src, out, "scannet20", "nyu40id", scenes, work, output)


def scannet200(
    src: Annotated[Path, tyro.conf.arg(metavar="SRC")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    scenes: tyro.conf.OmitArgPrefixes[ScannetOptions] = ScannetOptions(),
    work: tyro.conf.OmitArgPrefixes[ConvertOptions] = ConvertOptions(),
    output: tyro.conf.OmitArgPrefixes[Destination] = Destination(),
) -> None:
    """Make labelled scenes of ScanNet v2, with the 200 classes of ScanNet200.

    The table of labels must be of 2022 or later, as it was changed for ScanNet200.

    Args:
        src: The download, with scans/ and scans_test/, or a folder of scenes.
        out: Folder to write to: Parquet files in a folder for each split, and a card.
    """
    _prepare(src, out, "scannet200", "id", scenes, work, output)


def _prepare(
    src: Path,
    out: Path,
    which: Literal["scannet20", "scannet200"],
    column: str,
    options: ScannetOptions,
    work: ConvertOptions,
    output: Destination,
) -> None:
    if not src.is_dir():
        raise InputError(f"There is no folder {src}.")
    splits = read_splits(
        [options.split_files or src],
        {split: LISTS[split] for split in options.splits},
        "The lists are in github.com/ScanNet/ScanNet, folder Tasks/Benchmark; put them there, or "
        "pass split_files=FOLDER.",
    )
    known = class_list(which)
    numbers = _numbers(options.labels or src / LABELS, column)
    table = known.index(max(numbers.values()))
    class_of = {label: int(table[number]) for label, number in numbers.items()}
    if max(class_of.values()) < 0:
        raise InputError(f"{options.labels or src / LABELS} names none of the classes.")
    data = DataSet("ScanNet v2", TERMS, "other", {"classes": which, "align": options.align})
    chosen = {
        split: [_Scene(src, name, split != "test") for name in names]
        for split, names in splits.items()
    }
    read = partial(_read, class_of=class_of, align=options.align)
    convert(data, out, chosen, read, known.names, output, work)


@dataclass(frozen=True)
class _Scene:
    src: Path
    name: str
    labelled: bool

    def folder(self) -> Path:
        """Where it lies. Raises InputError where it is nowhere."""
        places = [self.src / part / self.name for part in ("scans", "scans_test", "")]
        for place in places:
            if place.is_dir():
                return place
        raise InputError(
            f"The scene {self.name} is not there: no {places[0]}, {places[1]} or {places[2]}."
        )


def _read(scene: _Scene, class_of: dict[str, int], align: bool) -> Converted:
    folder, name = scene.folder(), scene.name
    mesh = read_mesh(folder / f"{name}_vh_clean_2.ply")
    coord, normal = mesh.coord, mesh.normal
    if align:
        matrix = _alignment(folder / f"{name}.txt")
        coord = (coord @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
        normal = (normal @ matrix[:3, :3].T).astype(np.float32)
    segment, instance = None, None
    messages: tuple[str, ...] = ()
    if scene.labelled:
        segment, instance, messages = _labels(folder, name, len(coord), class_of)
    sample = EncodedSample(name, name, coord, mesh.color, normal, (), (), segment, instance)
    return Converted(sample, messages)


def _labels(
    folder: Path, name: str, points: int, class_of: dict[str, int]
) -> tuple[NDArray[np.int16], NDArray[np.int32], tuple[str, ...]]:
    """Class and instance of each point; a later thing covers an earlier one."""
    file = folder / f"{name}.aggregation.json"
    segments = folder / f"{name}_vh_clean_2.0.010000.segs.json"
    annotation = read_annotation(segments, file, points)
    classes = np.full(len(annotation.sizes), -1, np.int16)
    instances = np.full(len(annotation.sizes), -1, np.int32)
    unknown = set()
    for thing in annotation.things:
        if thing.label not in class_of:
            unknown.add(thing.label)
        classes[thing.segments] = class_of.get(thing.label, -1)
        instances[thing.segments] = thing.number
    messages = (
        (f"{file} has labels that the table of labels lacks: {', '.join(sorted(unknown))}.",)
        if unknown
        else ()
    )
    return classes[annotation.segment_of], instances[annotation.segment_of], messages


def _alignment(file: Path) -> NDArray[np.float64]:
    """(4, 4): what turns the scene's walls along the axes; the identity in test scenes.

    Raises InputError where the file is missing, or holds no such matrix.
    """
    for line in read_bytes(file).decode("utf-8", errors="replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip() != "axisAlignment":
            continue
        try:
            matrix = np.array(value.split(), np.float64).reshape(4, 4)
        except ValueError as error:
            raise InputError(f"{file}: axisAlignment is no 4x4 matrix: {error}.") from error
        if np.abs(matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3)).max() > 1e-3:
            raise InputError(f"{file}: axisAlignment is no rotation: {value.strip()}.")
        return matrix
    return np.eye(4)


def _numbers(file: Path, column: str) -> dict[str, int]:
    """The number of each raw label, 0 where the table has none.

    Raises InputError where the table is missing, or a number is out of range.
    """
    if not file.is_file():
        raise InputError(
            f"There is no {file}. ScanNet's download script gets it with --label_map; pass "
            "labels=FILE where it lies elsewhere."
        )
    lines = read_bytes(file).decode("utf-8", errors="replace").splitlines()
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    missing = {"raw_category", column} - set(rows.fieldnames or ())
    if missing:
        raise InputError(f"{file} is no table of ScanNet's labels: it has no {sorted(missing)[0]}.")
    numbers: dict[str, int] = {}
    for row in rows:
        label, value = row["raw_category"], row[column] or "0"
        if not value.isdecimal() or int(value) > MOST[column]:
            raise InputError(
                f"{file} has {column} {value} for {label!r}; expected 0 to {MOST[column]}."
            )
        numbers.setdefault(label, int(value))
    if not numbers:
        raise InputError(f"{file} lists no labels.")
    return numbers
