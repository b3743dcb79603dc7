"""`prepare scannetpp`: ScanNet++'s meshes with the annotations of its semantic benchmark.

Classes and their map are those of the download's metadata. Things overlap there; a vertex belongs
to the smallest of the first three that hold it, as the benchmark's own toolkit has it.
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
from concerto.training.prepare.indoor.mesh import read_mesh
from concerto.training.prepare.indoor.segments import Annotation, read_annotation
from concerto.training.prepare.indoor.splits import read_splits
from concerto.training.prepare.labelled_scenes import Converted, ConvertOptions, DataSet, convert
from concerto.training.prepare.output import Destination
from concerto.training.scenes.encoded import EncodedSample

Split = Literal["train", "val", "test"]
LISTS = {"train": "nvs_sem_train.txt", "val": "nvs_sem_val.txt", "test": "sem_test.txt"}
CLASSES = "metadata/semantic_benchmark/top100.txt"
MAP = "metadata/semantic_benchmark/map_benchmark.csv"
TERMS = "the ScanNet++ authors', under the terms at https://kaldir.vc.in.tum.de/scannetpp"
# Of the things that hold a vertex, so many count.
LABELS_A_VERTEX = 3


@dataclass(frozen=True)
class ScannetppOptions:
    """Which scenes are converted."""

    splits: tuple[Split, ...] = ("train", "val")
    """Official splits to write; test has no labels."""
    split_files: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder with nvs_sem_train.txt, nvs_sem_val.txt and sem_test.txt; by default SRC/splits."""


def scannetpp(
    src: Annotated[Path, tyro.conf.arg(metavar="SRC")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    scenes: tyro.conf.OmitArgPrefixes[ScannetppOptions] = ScannetppOptions(),
    work: tyro.conf.OmitArgPrefixes[ConvertOptions] = ConvertOptions(),
    output: tyro.conf.OmitArgPrefixes[Destination] = Destination(),
) -> None:
    """Make labelled scenes of ScanNet++, with the top 100 classes of its benchmark.

    Of each scene these are read, in data/NAME/scans: mesh_aligned_0.05.ply, segments.json and
    segments_anno.json.

    Args:
        src: The download, with data/, metadata/ and splits/.
        out: Folder to write to: Parquet files in a folder for each split, and a card.
    """
    if not src.is_dir():
        raise InputError(f"There is no folder {src}.")
    classes = _classes(src / CLASSES)
    class_of = _class_of(src / MAP, classes)
    splits = read_splits(
        [scenes.split_files or src / "splits"],
        {split: LISTS[split] for split in scenes.splits},
        "It comes with the download's splits/; pass split_files=FOLDER where it lies elsewhere.",
    )
    chosen = {
        split: [_Scene(src / "data" / name / "scans", name, split != "test") for name in names]
        for split, names in splits.items()
    }
    data = DataSet("ScanNet++", TERMS, "other", {"classes": "top100"})
    read = partial(_read, class_of=class_of)
    convert(data, out, chosen, read, classes, output, work)


@dataclass(frozen=True)
class _Scene:
    folder: Path
    name: str
    labelled: bool


def _read(scene: _Scene, class_of: dict[str, int]) -> Converted:
    folder = scene.folder
    mesh = read_mesh(folder / "mesh_aligned_0.05.ply")
    segment, instance = None, None
    if scene.labelled:
        annotation = read_annotation(
            folder / "segments.json", folder / "segments_anno.json", len(mesh.coord)
        )
        segment, instance = _labels(annotation, class_of)
    name = scene.name
    return Converted(
        EncodedSample(name, name, mesh.coord, mesh.color, mesh.normal, (), (), segment, instance)
    )


def _labels(
    annotation: Annotation, class_of: dict[str, int]
) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Class and instance of each vertex: of the smallest of the first three things there."""
    count = len(annotation.sizes)
    classes, instances = np.full(count, -1, np.int16), np.full(count, -1, np.int32)
    smallest, held = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    for thing in annotation.things:
        label = class_of.get(thing.label, -1)
        if label < 0:
            continue
        rows = thing.segments[held[thing.segments] < LABELS_A_VERTEX]
        held[rows] += 1
        size = annotation.sizes[rows].sum()
        rows = rows[size < smallest[rows]]
        classes[rows], instances[rows], smallest[rows] = label, thing.number, size
    return classes[annotation.segment_of], instances[annotation.segment_of]


def _classes(file: Path) -> list[str]:
    """The names of the classes, one a line."""
    lines = read_bytes(file).decode("utf-8", errors="replace").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(f"{file} lists no classes.")
    return names


def _class_of(file: Path, classes: list[str]) -> dict[str, int]:
    """The class of each raw label: of what it is mapped to, else of its own name.

    Raises InputError where the map is not there, or is not one.
    """
    number = {name: at for at, name in enumerate(classes)}
    lines = read_bytes(file).decode("utf-8-sig", errors="replace").splitlines()
    rows = csv.DictReader(lines)
    missing = {"class", "semantic_map_to"} - set(rows.fieldnames or ())
    if missing:
        raise InputError(f"{file} is no map of labels: it has no column {sorted(missing)[0]}.")
    class_of = {}
    for row in rows:
        target = (row["semantic_map_to"] or "").strip() or row["class"]
        # A label that is mapped to "None" has no class.
        class_of[row["class"]] = -1 if target == "None" else number.get(target, -1)
    if max(class_of.values(), default=-1) < 0:
        raise InputError(f"{file} leads to none of the classes of {CLASSES}.")
    return class_of
