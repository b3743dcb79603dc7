"""What a room's things are made of: a few woods, cloths, paints and metals that they share.

Things of all classes draw from the same few, so that a colour or a pattern alone says little of
what a thing is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from concerto.training.prepare.rooms import textures as made_of
from concerto.training.prepare.rooms.colors import (
    accent_color,
    any_color,
    grey,
    srgb,
    wall_color,
    wood_colors,
)
from concerto.training.prepare.rooms.parts import Material, Texture

Option = TypeVar("Option")


def pick(rng: Generator, options: Sequence[Option]) -> Option:
    """One of them, each as likely."""
    return options[int(rng.integers(len(options)))]


def chance(rng: Generator, share: float) -> bool:
    """True in that share of cases."""
    return bool(rng.random() < share)


@dataclass(frozen=True)
class Palette:
    """Materials of a room, and the generator that chooses among them."""

    rng: Generator
    woods: list[Material]
    cloths: list[Material]
    paints: list[Material]
    metals: list[Material]
    stones: list[Material]

    def wood(self) -> Material:
        """One of the room's woods."""
        return pick(self.rng, self.woods)

    def cloth(self) -> Material:
        """One of the room's cloths."""
        return pick(self.rng, self.cloths)

    def paint(self) -> Material:
        """One of the room's lacquers and plastics."""
        return pick(self.rng, self.paints)

    def metal(self) -> Material:
        """One of the room's metals."""
        return pick(self.rng, self.metals)

    def stone(self) -> Material:
        """One of the room's stones."""
        return pick(self.rng, self.stones)

    def body(self) -> Material:
        """What furniture is made of: wood for the most part, else lacquer."""
        return self.wood() if chance(self.rng, 0.65) else self.paint()

    def ceramic(self) -> Material:
        """What baths and sinks are made of: white, at times coloured."""
        pale = chance(self.rng, 0.75)
        color = (
            grey(self.rng, (0.85, 0.97)) if pale else any_color(self.rng, (0.1, 0.6), (0.2, 0.9))
        )
        return Material(made_of.plain(color, self.rng, 0.02), gloss=0.6, holes=0.05)


def make_palette(rng: Generator) -> Palette:
    """The materials of a room."""
    return Palette(
        rng,
        woods=[_wood(rng) for _ in range(int(rng.integers(2, 4)))],
        cloths=[cloth(rng) for _ in range(int(rng.integers(3, 7)))],
        paints=[lacquer(rng) for _ in range(int(rng.integers(3, 6)))],
        metals=[_metal(rng) for _ in range(2)],
        stones=[stone(rng) for _ in range(2)],
    )


def cloth(rng: Generator) -> Material:
    """Woven, striped, checked, printed, or leather."""
    one, two = any_color(rng, (0, 0.75), (0.15, 0.95)), any_color(rng, (0, 0.7), (0.1, 0.95))
    near = np.asarray(one * rng.uniform(0.5, 0.85), np.float32)
    makers: list[Callable[[], Texture]] = [
        lambda: made_of.weave(one, near, rng),
        lambda: made_of.weave(one, two, rng),
        lambda: made_of.plain(one, rng, 0.1),
        lambda: made_of.rough(one, near, rng, 0.15),
        lambda: made_of.stripes(one, two, rng),
        lambda: made_of.plaid(one, two, rng),
        lambda: made_of.dots(one, two, rng),
        lambda: made_of.flowers(one, two, any_color(rng), rng),
        lambda: made_of.damask(one, near, rng),
    ]
    shares = np.array([3, 2, 2, 2, 1, 1, 0.6, 0.8, 0.6])
    maker = makers[int(rng.choice(len(makers), p=shares / shares.sum()))]
    return Material(maker(), gloss=0.25 if chance(rng, 0.15) else 0.0)


def lacquer(rng: Generator) -> Material:
    """Paint or plastic: white, black, grey, or coloured."""
    choice = rng.random()
    if choice < 0.42:
        color = grey(rng, (0.8, 0.97))
    elif choice < 0.62:
        color = grey(rng, (0.05, 0.5))
    else:
        color = any_color(rng, (0.1, 0.8), (0.15, 0.95))
    dark = color.mean() < 0.03
    return Material(made_of.plain(color, rng), gloss=rng.uniform(0.05, 0.5), holes=0.1 * dark)


def stone(rng: Generator) -> Material:
    """Marble, terrazzo, granite or concrete."""
    one, two = grey(rng, (0.3, 0.95)), any_color(rng, (0, 0.3), (0.1, 0.8))
    makers: list[Callable[[], Texture]] = [
        lambda: made_of.marble(one, two, rng),
        lambda: made_of.speckle(one, two, rng),
        lambda: made_of.rough(one, two, rng),
    ]
    return Material(pick(rng, makers)(), gloss=rng.uniform(0, 0.5))


def wall_surface(rng: Generator, wet: bool, accent: bool = False) -> Material:
    """Paint, paper, boards, bricks or tiles. wet: of a bathroom, tiled as a rule. accent: strong
    in colour."""
    color, other = accent_color(rng) if accent else wall_color(rng), wall_color(rng)
    near = np.asarray(color * rng.uniform(0.75, 0.95), np.float32)
    if wet and chance(rng, 0.7):
        joint = grey(rng, (0.4, 0.9))
        return Material(made_of.tiles(color, joint, rng), gloss=0.35)
    choice = rng.random()
    if choice < 0.68:
        return Material(made_of.plain(color, rng, 0.03))
    if choice < 0.76:
        return Material(made_of.rough(color, near, rng))
    if choice < 0.9:
        makers: list[Callable[[], Texture]] = [
            lambda: made_of.damask(color, near, rng),
            lambda: made_of.stripes(color, near, rng, rng.uniform(0.03, 0.15)),
            lambda: made_of.flowers(color, other, near, rng),
        ]
        return Material(pick(rng, makers)(), upright=True)
    if choice < 0.95:
        return Material(made_of.planks(made_of.wood(*wood_colors(rng), rng), rng))
    shift = rng.uniform(-0.1, 0.3, 3)
    shift = 0.25 * shift + 0.75 * shift.mean()
    brick = srgb(*(np.array([0.65, 0.35, 0.27]) + shift).clip(0, 1))
    return Material(made_of.bricks(brick, grey(rng, (0.5, 0.9)), rng), upright=True)


def floor_surface(rng: Generator, wet: bool) -> Material:
    """Boards, parquet, tiles, stone, concrete or carpet."""
    choice = rng.random() if not wet else rng.uniform(0.55, 0.9)
    board = made_of.wood(*wood_colors(rng), rng)
    color = any_color(rng, (0, 0.4), (0.3, 0.9))
    if choice < 0.4:
        return Material(made_of.planks(board, rng), gloss=rng.uniform(0, 0.3), upright=True)
    if choice < 0.55:
        return Material(made_of.parquet(board, rng), gloss=rng.uniform(0, 0.3), upright=True)
    if choice < 0.75:
        joint = grey(rng, (0.2, 0.8))
        side = rng.uniform(0.15, 0.6)
        return Material(made_of.tiles(color, joint, rng, side), gloss=0.3, upright=True)
    if choice < 0.9:
        return stone(rng)
    near = np.asarray(color * rng.uniform(0.5, 0.8), np.float32)
    return Material(made_of.carpet(color, near, rng))


def _wood(rng: Generator) -> Material:
    return Material(made_of.wood(*wood_colors(rng), rng), gloss=rng.uniform(0, 0.3))


def _metal(rng: Generator) -> Material:
    choice = rng.random()
    color = grey(rng, (0.55, 0.8))
    if choice < 0.35:
        color = grey(rng, (0.04, 0.2))
    elif choice < 0.5:
        color = srgb(0.75, 0.6, 0.35)
    return Material(made_of.brushed(color, rng), gloss=0.6, holes=0.1)
