"""`prepare rooms`: procedural rooms → scenes with images that see them, and labels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from concerto.extras import import_extra
from concerto.training.prepare.card import PROCEDURAL
from concerto.training.prepare.in_order import in_order
from concerto.training.prepare.output import OutputOptions
from concerto.training.prepare.rooms.classes import CLASSES
from concerto.training.prepare.rooms.options import RoomOptions
from concerto.training.prepare.rooms.scene import room_samples
from concerto.training.scenes.encoded import EncodedSample


def rooms(
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    rooms: tyro.conf.OmitArgPrefixes[RoomOptions] = RoomOptions(),
    output: tyro.conf.OmitArgPrefixes[OutputOptions] = OutputOptions(),
    workers: int = 1,
) -> None:
    """Make samples of furnished rooms that are built and rendered here, free of anyone's licence.

    Each room has walls, furniture, lamps and small things of 27 classes. It is seen by a camera
    with a noisy depth sensor, and fused from what that measured; every point has its class and
    the thing that it belongs to. A sample is a room with four of its images. Without --license,
    the card says cc0-1.0.

    Args:
        out: Folder to write to: Parquet files in a folder for each split, and a card.
        workers: Rooms to work on at a time, each by a process; the result is the same.
    """
    rooms.check()
    import_extra("embreex", "Procedural rooms", extra="train")
    facts = {"from": PROCEDURAL, **rooms.facts()}
    output.write(out, _samples(rooms, workers), facts, CLASSES)


def _samples(options: RoomOptions, workers: int) -> Iterator[EncodedSample]:
    numbers = range(options.first, options.first + options.scenes)
    made = in_order(partial(room_samples, options=options), numbers, workers)
    for samples in tqdm(made, total=len(numbers), unit="room"):
        yield from samples
