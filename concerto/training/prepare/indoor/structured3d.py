"""`prepare structured3d`: rooms that were rendered, their views put together to points.

Every room has a panorama, and most have perspective views, each with colour, depth and class of
each pixel. They are read from the download's archives as they are, or from a folder.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from concerto.errors import InputError
from concerto.training.prepare.indoor.classes import class_list, classes_of
from concerto.training.prepare.indoor.rendered import Points, panorama, perspective, thinned
from concerto.training.prepare.labelled_scenes import Converted, ConvertOptions, DataSet, convert
from concerto.training.prepare.output import Destination
from concerto.training.scenes.encoded import EncodedSample

Split = Literal["train", "val", "test"]
# Scenes by number: https://github.com/bertjiazheng/Structured3D#data
SPLITS = {"train": range(3000), "val": range(3000, 3250), "test": range(3250, 3500)}
# Of its errata: scenes that are not valid.
INVALID = (1155, 1192, 1714, 1816, 1852, 3398)
TERMS = "the Structured3D authors', under the terms of use at https://structured3d-dataset.org"
NYU_CLASSES = 40
VIEW = re.compile(
    r"(?:.*/)?(?P<room>scene_(?P<scene>\d+)/2D_rendering/(?P<name>[^/]+))/"
    r"(?P<view>perspective/full/[^/]+|panorama)/(?:full/)?(?P<file>[^/]+)"
)
IMAGES = ("rgb_rawlight.png", "depth.png", "semantic.png")
# Archives that a process keeps open: rooms are in the order of their scenes, and so are archives.
KEPT_OPEN = 4


@dataclass(frozen=True)
class Structured3dOptions:
    """Which rooms are converted, and how densely."""

    splits: tuple[Split, ...] = ("train", "val")
    """Official splits to write."""
    views: Literal["all", "panorama", "perspective"] = "all"
    """Which views points are made of."""
    voxel_size: float = 0.01
    """Metres from one point to the next: views overlap, and see near things very densely."""

    def check(self) -> None:
        """Raise InputError where a value is out of range."""
        if not self.voxel_size > 0:
            raise InputError(f"voxel_size is {self.voxel_size:g}; it must be over 0 (metres).")


def structured3d(
    src: Annotated[Path, tyro.conf.arg(metavar="SRC")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    rooms: tyro.conf.OmitArgPrefixes[Structured3dOptions] = Structured3dOptions(),
    work: tyro.conf.OmitArgPrefixes[ConvertOptions] = ConvertOptions(),
    output: tyro.conf.OmitArgPrefixes[Destination] = Destination(),
) -> None:
    """Make labelled scenes of Structured3D, with 25 of NYU's 40 classes, a scene a room.

    Of each view these are read: rgb_rawlight.png, depth.png, semantic.png, and camera_pose.txt of
    perspective views or camera_xyz.txt of panoramas, all of furnished rooms (full).

    Args:
        src: Folder with the archives Structured3D_panorama_00.zip,
            Structured3D_perspective_full_00.zip and so on, or what is in them, unpacked.
        out: Folder to write to: Parquet files in a folder for each split, and a card.
    """
    rooms.check()
    found = _rooms(src, rooms.views)
    splits: Mapping[str, Sequence[_Room]] = {
        split: [room for room in found if room.scene in SPLITS[split]] for split in rooms.splits
    }
    for split, chosen in splits.items():
        if not chosen:
            numbers = SPLITS[split]
            raise InputError(
                f"The split {split} is empty: {src} has no rooms of the scenes {numbers[0]:05d} to "
                f"{numbers[-1]:05d}."
            )
    facts = {"views": rooms.views, "voxel_size": rooms.voxel_size, "classes": 25}
    data = DataSet("Structured3D", TERMS, "other", facts)
    read = partial(_read, voxel_size=rooms.voxel_size)
    convert(data, out, splits, read, class_list("structured3d25").names, output, work)


@dataclass(frozen=True)
class _File:
    """A file of the data set. archive: the zip that it is in; None where it is unpacked."""

    path: str
    archive: Path | None

    def read(self) -> bytes:
        """Its content. Raises InputError where it cannot be read."""
        try:
            if self.archive is None:
                return Path(self.path).read_bytes()
            return _kept_open(self.archive, os.getpid()).read(self.path)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
            place = f" of {self.archive}" if self.archive else ""
            raise InputError(f"Cannot read {self.path}{place}: {error}.") from error


@dataclass(frozen=True)
class _Room:
    """A room's views: the files of each, by name."""

    name: str
    scene: int
    views: dict[str, dict[str, _File]]


@lru_cache(maxsize=KEPT_OPEN)
def _kept_open(archive: Path, process: int) -> zipfile.ZipFile:
    """Opened once a process: to list an archive takes long.

    process: its number. One that was forked has the open files of its parent, and each that reads
    from one of these moves the place where all others read on.
    """
    return _open(archive)


def _open(archive: Path) -> zipfile.ZipFile:
    """Raises InputError where it cannot be read."""
    try:
        return zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive} is no archive, or is damaged: {error}.") from error


def _rooms(src: Path, views: str) -> list[_Room]:
    """The rooms, sorted. Raises InputError where there are none."""
    found: dict[str, _Room] = {}
    for file in _files(src):
        match = VIEW.fullmatch(file.path)
        if match is None or int(match["scene"]) in INVALID:
            continue
        view = match["view"]
        if views != "all" and not view.startswith(views):
            continue
        name = f"scene_{match['scene']}_room_{match['name']}"
        room = found.setdefault(match["room"], _Room(name, int(match["scene"]), {}))
        room.views.setdefault(view, {})[match["file"]] = file
    if not found:
        raise InputError(
            f"{src} has no rooms: neither archives of Structured3D, nor folders scene_00000/"
            f"2D_rendering/ROOM with {'panorama or perspective' if views == 'all' else views}."
        )
    return [found[name] for name in sorted(found)]


def _files(src: Path) -> Iterator[_File]:
    """All files, of archives and unpacked."""
    if not src.is_dir():
        raise InputError(f"There is no folder {src}.")
    for archive in sorted(src.glob("*.zip")):
        with _open(archive) as opened:
            yield from (_File(name, archive) for name in opened.namelist())
    for scene in (*src.glob("scene_*"), *src.glob("*/scene_*")):
        yield from (_File(path.as_posix(), None) for path in scene.glob("2D_rendering/*/p*/**/*"))


def _read(room: _Room, voxel_size: float) -> Converted:
    parts, messages = [], []
    for view in sorted(room.views):
        files = room.views[view]
        camera = "camera_xyz.txt" if view == "panorama" else "camera_pose.txt"
        missing = [name for name in (*IMAGES, camera) if name not in files]
        if missing:
            messages.append(f"{room.name}: {view} has no {' and no '.join(missing)}; left out.")
            continue
        make = panorama if view == "panorama" else perspective
        photo, depth, labels, pose = (files[name].read() for name in (*IMAGES, camera))
        points = make(photo, depth, labels, pose, f"{room.name}/{view}")
        parts.append(thinned(points, voxel_size))
    if not parts or not sum(len(part.coord) for part in parts):
        raise InputError(f"{room.name} has no view with points. {' '.join(messages)}".strip())
    points = thinned(Points.joined(parts), voxel_size)
    table = class_list("structured3d25").index(NYU_CLASSES)
    sample = EncodedSample(
        name=room.name,
        scene=room.name,
        coord=points.coord.astype(np.float32),
        color=points.color,
        normal=points.normal,
        segment=classes_of(points.label, table, room.name),
    )
    return Converted(sample, tuple(messages))
