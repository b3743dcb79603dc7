"""Things: pieces of one class, where other things may stand on them, and the room they take up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.parts import Part, Vector, rotation_about

Rests = Literal["floor", "wall", "ceiling", "top"]


@dataclass(frozen=True)
class Top:
    """A level rectangle on which things may stand, in the thing's frame, with the room above it."""

    x: tuple[float, float]
    y: tuple[float, float]
    z: float
    clear: float = 0.5


@dataclass(frozen=True)
class Light:
    """A lamp's light: where it is in the thing's frame, how wide, and its power by colour."""

    at: Vector
    radius: float
    power: NDArray[np.float32]


@dataclass(frozen=True)
class Item:
    """A thing in its own frame, and where that stands in the room.

    yaw: degrees about z. at: the origin of its frame in the room. rests: what holds it up. soft: a
    thing into which others sink, such as a rug; it takes up no room.
    """

    kind: Kind
    parts: tuple[Part, ...]
    tops: tuple[Top, ...] = ()
    light: Light | None = None
    rests: Rests = "floor"
    soft: bool = False
    yaw: float = 0.0
    at: Vector = (0.0, 0.0, 0.0)
    own: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", np.stack([part.bounds() for part in self.parts]))

    @property
    def low(self) -> NDArray[np.float64]:
        """(3,) the least coordinates, in its frame."""
        return np.asarray(self.own[:, 0].min(0))

    @property
    def high(self) -> NDArray[np.float64]:
        """(3,) the greatest coordinates, in its frame."""
        return np.asarray(self.own[:, 1].max(0))

    @property
    def size(self) -> NDArray[np.float64]:
        """(3,) width, depth and height."""
        return self.high - self.low

    def placed(self, at: Vector, yaw: float) -> Item:
        """The thing at another place."""
        return replace(self, at=at, yaw=yaw)

    def to_room(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (n, 3) of its frame as they lie in the room."""
        return np.asarray(points @ rotation_about("z", self.yaw).T + np.array(self.at))

    def solids(self) -> Solids:
        """The blocks that its pieces fill at most."""
        middle = self.to_room(self.own.mean(1))
        half = (self.own[:, 1] - self.own[:, 0]) / 2
        return Solids(
            center=middle[:, :2],
            half=half[:, :2],
            turn=np.full(len(half), np.radians(self.yaw)),
            low=middle[:, 2] - half[:, 2],
            high=middle[:, 2] + half[:, 2],
        )


@dataclass(frozen=True)
class Solids:
    """n upright blocks: center, half (n, 2), turn (n,) radians, low and high (n,) metres."""

    center: NDArray[np.float64]
    half: NDArray[np.float64]
    turn: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @staticmethod
    def joined(several: Sequence[Solids]) -> Solids:
        """All of them."""
        return Solids(
            *(
                np.concatenate([getattr(one, name) for one in several])
                for name in ("center", "half", "turn", "low", "high")
            )
        )

    def axes(self) -> NDArray[np.float64]:
        """(n, 2, 2): the directions of each block's sides, one a row."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], 1)

    def corners(self) -> NDArray[np.float64]:
        """(n, 4, 2): the corners of each block's outline."""
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        offset = signs[None] * self.half[:, None]
        return np.asarray(self.center[:, None] + offset @ self.axes())

    def overlap(self, others: Solids) -> NDArray[np.float64]:
        """(n, m): metres by which blocks reach into others; below 0 where they are apart.

        The least over the directions in which two blocks may be pulled apart (separating axes).
        """
        deep = np.minimum(
            self.high[:, None] - others.low[None], others.high[None] - self.low[:, None]
        )
        mine, theirs = self.axes(), others.axes()
        between = others.center[None] - self.center[:, None]
        for axes in (mine[:, None], theirs[None]):
            for k in range(2):
                axis = axes[:, :, k]
                reach = sum(
                    np.abs((frame[..., j, :] * axis).sum(-1)) * half[..., j]
                    for frame, half in (
                        (mine[:, None], self.half[:, None]),
                        (theirs[None], others.half[None]),
                    )
                    for j in range(2)
                )
                deep = np.minimum(deep, reach - np.abs((between * axis).sum(-1)))
        return np.asarray(deep)


def item(kind: Kind, parts: Sequence[Part], **more: object) -> Item:
    """A thing of these pieces."""
    return Item(kind, tuple(parts), **more)  # type: ignore[arg-type]
