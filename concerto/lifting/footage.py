"""Frames in the making, and one pass over them: each is made, moved, fused and forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from tqdm import tqdm

from concerto.errors import InputError
from concerto.lifting.alignment import Alignment
from concerto.lifting.camera import Camera
from concerto.lifting.folder import Folder
from concerto.lifting.frame import Frame
from concerto.lifting.fusion import Lifter
from concerto.lifting.inputs import Attempt, advised
from concerto.lifting.keyframes import Keyframes
from concerto.lifting.lifted import LiftedCloud

# Of the frames that were left out, so many are told with their reason.
TOLD = 3


@dataclass(frozen=True)
class Footage:
    """Frames in the making, whether their lengths are metres, and how many there are."""

    attempts: Iterable[Attempt]
    metric: bool = True
    total: int | None = None
    again: bool = False

    def held(self, wish: str) -> Footage:
        """The same, to go through twice. Raises InputError where that takes the video's memory."""
        if self.again:
            return self
        raise InputError(
            f"{wish} goes through the frames twice, and some were given as an iterator, or a "
            "video. Pass lists, or paths of images."
        )


def recorded(folder: Folder, every: int = 1) -> Footage:
    """The footage of a folder."""
    made = [partial(folder.read, number) for number in range(0, len(folder.frames), every)]
    return Footage(made, folder.recording.metric, len(made), again=True)


def fuse(
    footage: Footage,
    lifter: Lifter,
    keyframes: Keyframes | None = None,
    alignment: Alignment | None = None,
    skip_bad: bool = False,
    bar: str | None = None,
) -> LiftedCloud:
    """The cloud of all frames, with their cameras and names, and why others are left out.

    keyframes: fuse only those that it wants. alignment: the world that the frames are moved to.
    skip_bad: leave out frames that cannot be used. bar: what to write beside a progress bar.

    Raises InputError where a frame cannot be used, or, with skip_bad, none can.
    """
    cameras, names, left_out = [], [], []
    running = iter(footage.attempts)
    with tqdm(total=footage.total, desc=bar, unit="frame", disable=bar is None) as shown:
        while True:
            try:
                attempt = next(running, None)
                if attempt is None:
                    break
                frame = moved(attempt(), alignment)
                if _add(frame, lifter, keyframes):
                    cameras.append(Camera.of(frame))
                    names.append(frame.name)
            except InputError as error:
                if not skip_bad:
                    raise advised(error) from error
                left_out.append(str(error))
            shown.update()
    if left_out and not names:
        raise InputError(f"No frame can be used. The first: {left_out[0]}")
    return replace(
        lifter.cloud(),
        cameras=tuple(cameras),
        names=tuple(names),
        alignment=alignment,
        left_out=tuple(left_out),
    )


def _add(frame: Frame, lifter: Lifter, keyframes: Keyframes | None) -> bool:
    """Fuse a frame, unless the keyframes do not want it; returns whether it was fused."""
    if keyframes is None:
        lifter.add(frame)
        return True
    if not keyframes.would_want(frame.pose):
        return False
    lifter.add(frame)
    keyframes.keep(frame.pose)
    return True


def reasons(left_out: Sequence[str]) -> str:
    """Why frames were left out: of the first few of them."""
    return " ".join(left_out[:TOLD]) + (" …" if len(left_out) > TOLD else "")


def moved(frame: Frame, alignment: Alignment | None) -> Frame:
    """A frame in the world that an alignment leads to."""
    if alignment is None:
        return frame
    return replace(
        frame,
        pose=alignment.pose(frame.pose),
        depth=frame.depth * np.float32(alignment.scale),
    )
