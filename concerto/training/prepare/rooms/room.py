"""A room being furnished: what stands in it, and whether something else fits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from concerto.training.prepare.rooms.items import Item, Solids, Top
from concerto.training.prepare.rooms.palette import Palette
from concerto.training.prepare.rooms.shell import Wall

# Metres that things may reach into each other: less is rounding.
TOUCH = 1e-4
TRIES = 30


@dataclass
class Room:
    """size: width, depth, height in metres; the floor's corner is the origin, z is up.

    shell: floor, ceiling, walls. items: what is in it, in the order in which it came. panes: the
    windows among the items. kept: space that furniture must leave free, before doors and windows.
    blocked: space that is not of the room, where it is L-shaped. sun: the direction (3,) to the
    sun, where it shines in.
    """

    style: str
    size: tuple[float, float, float]
    palette: Palette
    walls: list[Wall]
    shell: list[Item]
    items: list[Item] = field(default_factory=list)
    kept: list[Solids] = field(default_factory=list)
    blocked: list[Solids] = field(default_factory=list)
    sun: NDArray[np.float64] | None = None

    @property
    def rng(self) -> np.random.Generator:
        """What all chance in this room comes from."""
        return self.palette.rng

    def fits(self, *items: Item, free: bool = True) -> bool:
        """Whether things fit between the walls and what is there. free: leave kept space alone."""
        solids = Solids.joined([item.solids() for item in items])
        corners = solids.corners().reshape(-1, 2)
        inside = (corners > -TOUCH).all() and (corners < np.array(self.size[:2]) + TOUCH).all()
        if not (inside and solids.high.max() < self.size[2] + TOUCH):
            return False
        if self.blocked and (solids.overlap(Solids.joined(self.blocked)) > TOUCH).any():
            return False
        if all(item.soft for item in items):
            return True
        there = [item.solids() for item in self.items if not item.soft]
        there += self.kept if free else []
        return not there or bool((solids.overlap(Solids.joined(there)) < TOUCH).all())

    def add(self, *items: Item, free: bool = True) -> bool:
        """Put things in, all or none; returns whether they fit."""
        if not self.fits(*items, free=free):
            return False
        self.items.extend(items)
        return True

    def keep(
        self, wall: Wall, x: tuple[float, float], reach: float, z: tuple[float, float]
    ) -> None:
        """Keep space before a wall free."""
        middle = wall.point(sum(x) / 2, reach / 2)
        self.kept.append(
            Solids(
                center=np.array([middle]),
                half=np.array([[(x[1] - x[0]) / 2, reach / 2]]),
                turn=np.array([np.radians(wall.yaw)]),
                low=np.array([z[0]]),
                high=np.array([z[1]]),
            )
        )

    def along_wall(self, item: Item, walls: list[Wall] | None = None) -> tuple[Wall, Item] | None:
        """Put a thing with its back to a wall, wherever it fits; returns the wall and the thing."""
        for _ in range(TRIES):
            wall = self._any_wall(walls)
            margin = max(float(item.high[0]), -float(item.low[0])) + 0.02
            if wall.length <= 2 * margin:
                continue
            near = self.rng.random() < 0.35
            x = self.rng.uniform(margin, wall.length - margin)
            if near:
                x = margin if self.rng.random() < 0.5 else wall.length - margin
            placed = wall.put(item, float(x), float(self.rng.uniform(0.015, 0.05)))
            if self.add(placed):
                return wall, placed
        return None

    def anywhere(self, item: Item) -> Item | None:
        """Put a thing somewhere on the floor."""
        for _ in range(TRIES):
            at = self.rng.uniform(0, 1, 2) * np.array(self.size[:2])
            standing = replace(item, rests="floor")
            turn = float(self.rng.uniform(0, 360))
            placed = standing.placed((float(at[0]), float(at[1]), 0.0), turn)
            if self.add(placed):
                return placed
        return None

    def hang(self, item: Item, height: float, walls: list[Wall] | None = None) -> Item | None:
        """Put a thing flat on a wall, its frame's origin at a height."""
        for _ in range(TRIES):
            wall = self._any_wall(walls)
            margin = float(item.size[0]) / 2 + 0.05
            if wall.length <= 2 * margin:
                continue
            x = float(self.rng.uniform(margin, wall.length - margin))
            placed = wall.put(item, x, 0.0, height)
            if self.add(placed):
                return placed
        return None

    def on_top(
        self, below: Item, item: Item, top: Top | None = None, yaw: float = 0.0
    ) -> Item | None:
        """Put a thing on another, wherever it fits; yaw: degrees it may be turned either way."""
        tops = [top] if top else list(below.tops)
        for _ in range(TRIES // 3 if tops else 0):
            place = tops[int(self.rng.integers(len(tops)))]
            turn = float(self.rng.uniform(-yaw, yaw))
            reach = np.abs(np.stack([item.low, item.high])[:, :2]).max(0)
            span = [
                (side[0] + r, side[1] - r)
                for side, r in zip((place.x, place.y), reach, strict=True)
            ]
            if float(item.high[2]) > place.clear or any(s[0] > s[1] for s in span):
                continue
            at = np.array([[self.rng.uniform(*s) for s in span] + [place.z]])
            lying = replace(item, rests="top")
            placed = lying.placed(_vector(below.to_room(at)[0]), below.yaw + turn)
            if self.add(placed, free=False):
                return placed
        return None

    def beside(
        self, below: Item, item: Item, place: tuple[float, float, float], turn: float
    ) -> Item | None:
        """Put a thing at a place of another's frame, turned by some degrees against it."""
        at = below.to_room(np.array([place]))[0]
        placed = item.placed(_vector(at), below.yaw + turn)
        return placed if self.add(placed) else None

    def _any_wall(self, walls: list[Wall] | None) -> Wall:
        choice = walls or self.walls
        return choice[int(self.rng.integers(len(choice)))]


def _vector(at: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(at[0]), float(at[1]), float(at[2])
