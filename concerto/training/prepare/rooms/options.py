"""What rooms are made, and how they are seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from concerto.errors import InputError


@dataclass(frozen=True)
class RoomOptions:
    """Which rooms to make, and how to look at them."""

    scenes: int = 500
    """Rooms to make."""
    seed: int = 0
    """Which endless row of rooms they are of: room n of a seed is always the same."""
    first: int = 0
    """Number of the first room: a validation split may begin where the training split ends."""
    views: int = 8
    """Images of a room, four a sample."""
    size: Annotated[tuple[int, int], tyro.conf.arg(metavar="WIDTH HEIGHT")] = (320, 240)
    """Pixels of an image."""
    frames: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Write the images, with depth, poses and labels, to this folder too: a folder for each room,
    as `prepare rgbd` reads them."""

    def check(self) -> None:
        """Raise InputError where no rooms can be made so."""
        for name, least in (("scenes", 1), ("seed", 0), ("first", 0), ("views", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if min(self.size) < 32:
            raise InputError(f"size is {self.size[0]} x {self.size[1]}; images have 32 or more.")

    def facts(self) -> dict[str, Any]:
        """What a card says of them."""
        values = asdict(self)
        del values["frames"]
        return values
