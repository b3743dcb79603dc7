"""`prepare s3dis`: the rooms of Stanford's 3D indoor spaces, from their text files.

A room's points are those of its annotated things. It has no normals; they are estimated.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io.pictures import read_bytes
from concerto.points.normals import estimate_normals
from concerto.training.prepare.indoor.classes import class_list
from concerto.training.prepare.labelled_scenes import Converted, ConvertOptions, DataSet, convert
from concerto.training.prepare.output import Destination
from concerto.training.scenes.encoded import EncodedSample

AREAS = (1, 2, 3, 4, 5, 6)
TERMS = "Stanford University's, for non-commercial research; http://buildingparser.stanford.edu"
CLUTTER = "clutter"
# A class of some rooms that is evaluated as clutter.
STAIRS = "stairs"
# No byte of a text; the release has one in two places.
STRAY = re.compile(rb"[^\t\n\r -~]")


@dataclass(frozen=True)
class S3disOptions:
    """Which areas become which split, and how rooms are turned."""

    val_area: Literal[1, 2, 3, 4, 5, 6] = 5
    """The area that is the split val; the others are train. 5 is what most results are of."""
    align: Literal["auto", "yes", "no"] = "auto"
    """Turn each room by the angle in Area_N_alignmentAngle.txt, so that walls run along the axes;
    auto: unless SRC's name says Aligned, as of the release in which that is done."""


def s3dis(
    src: Annotated[Path, tyro.conf.arg(metavar="SRC")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    rooms: tyro.conf.OmitArgPrefixes[S3disOptions] = S3disOptions(),
    work: tyro.conf.OmitArgPrefixes[ConvertOptions] = ConvertOptions(),
    output: tyro.conf.OmitArgPrefixes[Destination] = Destination(),
) -> None:
    """Make labelled scenes of S3DIS, with its 13 classes, a scene a room.

    Of each room these are read: Area_N/ROOM/Annotations/CLASS_1.txt and so on.

    Args:
        src: Stanford3dDataset_v1.2 or Stanford3dDataset_v1.2_Aligned_Version, with Area_1 to
            Area_6.
        out: Folder to write to: Parquet files in a folder for each split, and a card.
    """
    align = rooms.align == "yes" or (
        rooms.align == "auto" and "aligned" not in src.resolve().name.lower()
    )
    found = {area: _rooms(src, area, align) for area in AREAS}
    splits = {
        "train": [room for area in AREAS if area != rooms.val_area for room in found[area]],
        "val": found[rooms.val_area],
    }
    facts = {"val": f"Area_{rooms.val_area}", "turned": align}
    data = DataSet("S3DIS v1.2", TERMS, "other", facts)
    names = class_list("s3dis13").names
    convert(data, out, splits, partial(_read, names=names), names, output, work)


@dataclass(frozen=True)
class _Room:
    """angle: degrees by which it is turned, clockwise as seen from above."""

    folder: Path
    name: str
    angle: float


def _rooms(src: Path, area: int, align: bool) -> list[_Room]:
    """The rooms of an area, sorted. Raises InputError where there are none, or an angle lacks."""
    folder = src / f"Area_{area}"
    found = sorted(path.parent for path in folder.glob("*/Annotations") if path.is_dir())
    if not found:
        raise InputError(
            f"{folder} has no rooms, folders with Annotations/. Pass the folder that holds Area_1 "
            "to Area_6."
        )
    angles = _angles(folder / f"{folder.name}_alignmentAngle.txt") if align else {}
    rooms = []
    for room in found:
        if align and room.name not in angles:
            raise InputError(
                f"{folder.name}_alignmentAngle.txt in {folder} has no angle of {room.name}. With "
                "align=no, rooms stay as they are."
            )
        angle = angles.get(room.name, 0.0)
        rooms.append(_Room(room, f"{folder.name}_{room.name}", angle))
    return rooms


def _angles(file: Path) -> dict[str, float]:
    """Degrees by the name of the room."""
    lines = read_bytes(file).decode("utf-8", errors="replace").splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    try:
        return {name: float(angle) for name, angle in rows}
    except ValueError as error:
        raise InputError(f"{file} does not give an angle for each room: {error}.") from error


def _read(room: _Room, names: tuple[str, ...]) -> Converted:
    # Disks that macOS wrote to may hold ._CLASS_1.txt beside each file.
    files = sorted((room.folder / "Annotations").glob("[!.]*.txt"))
    if not files:
        raise InputError(f"{room.folder / 'Annotations'} has no things: no CLASS_1.txt.")
    parts, classes, messages = [], [], []
    for file in files:
        name = file.stem.rsplit("_", 1)[0]
        if name not in (*names, STAIRS):
            messages.append(f"{file}: {name!r} is none of the classes, and counts as {CLUTTER}.")
        parts.append(_thing(file))
        classes.append(names.index(name if name in names else CLUTTER))
    sizes = [len(part) for part in parts]
    values = np.concatenate(parts)
    cloud = estimate_normals(_turned(values[:, :3], room.angle), viewpoint=_middle(values[:, :3]))
    assert cloud.normal is not None
    sample = EncodedSample(
        name=room.name,
        scene=room.name,
        coord=cloud.coord.numpy().astype(np.float32),
        color=values[:, 3:].round().astype(np.uint8),
        normal=cloud.normal.numpy(),
        segment=np.repeat(np.array(classes, np.int16), sizes),
        instance=np.repeat(np.arange(len(parts), dtype=np.int32), sizes),
    )
    return Converted(sample, tuple(messages))


def _thing(file: Path) -> NDArray[np.float64]:
    """(n, 6) x y z in metres and r g b, 0-255, of a thing's points.

    Raises InputError where a line holds anything else.
    """
    content = read_bytes(file)
    if STRAY.search(content):
        content = b"\n".join(_mended(line) for line in content.split(b"\n"))
    try:
        values = np.loadtxt(io.BytesIO(content), ndmin=2)
    except ValueError as error:
        raise InputError(f"{file} is no list of x y z r g b: {error}.") from error
    if not len(values) or values.shape[1] != 6:
        raise InputError(f"{file} has {values.shape} numbers; expected rows of x y z r g b.")
    colors = values[:, 3:]
    if not 0 <= colors.min() <= colors.max() <= 255:
        raise InputError(f"{file} has colours from {colors.min():g} to {colors.max():g}; 0 to 255.")
    return np.asarray(values)


def _mended(line: bytes) -> bytes:
    """A line with a stray byte where a space or a digit was, as Area_5 has two."""
    for instead in (b" ", b"0"):
        mended = STRAY.sub(instead, line)
        if len(mended.split()) == 6:
            return mended
    return line


def _turned(coord: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Points (n, 3) turned clockwise around the vertical through their middle."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    middle = _middle(coord)
    return np.asarray((coord - middle) @ matrix.T + middle)


def _middle(coord: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((coord.min(0) + coord.max(0)) / 2)
