"""Boxes: of cardboard, or crates and bins of other stuff; closed, with a lid, or open."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms import textures as made_of
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.colors import any_color, srgb
from concerto.training.prepare.rooms.items import Item, Top
from concerto.training.prepare.rooms.palette import Palette, chance, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.shapes import Span, box, centered

HIGHEST = 0.45
WALL = 0.008


def container(palette: Palette, most: float = 0.6) -> Item:
    """A box of any kind. most: metres a side."""
    rng = palette.rng
    size = rng.uniform(0.3, 1, 3) * most
    x, y, z = centered(float(size[0])), centered(float(size[1])), min(float(size[2]), HIGHEST)
    stuff = _card(palette) if chance(rng, 0.55) else _any(palette)
    if chance(rng, 0.5):
        return _closed(palette, stuff, x, y, z)
    parts = _open(stuff, x, y, z)
    if chance(rng, 0.6):
        parts += _flaps(palette, stuff, x, y, z)
    return Item(Kind.BOX, tuple(parts))


def _closed(palette: Palette, stuff: Material, x: Span, y: Span, z: float) -> Item:
    """A box with a strip of tape, or a lid: something may stand on it."""
    rng = palette.rng
    body = box(stuff, x, y, (0, z))
    if chance(rng, 0.4):
        over = 0.006
        lid = (x[0] - over, x[1] + over), (y[0] - over, y[1] + over), (z * 0.75, z + over)
        return Item(Kind.BOX, (body, box(stuff, *lid)), tops=(Top(x, y, z + over, 1.0),))
    tape = Material(made_of.plain(any_color(rng, (0, 0.3), (0.5, 0.9)), rng))
    strip = box(tape, x, (-0.025, 0.025), (z, z + 0.001))
    return Item(Kind.BOX, (body, strip), tops=(Top(x, y, z + 0.001, 1.0),))


def _open(stuff: Material, x: Span, y: Span, z: float) -> list[Part]:
    """A floor and four walls."""
    inner = x[0] + WALL, x[1] - WALL
    return [
        box(stuff, x, y, (0, WALL)),
        box(stuff, (x[0], inner[0]), y, (WALL, z)),
        box(stuff, (inner[1], x[1]), y, (WALL, z)),
        box(stuff, inner, (y[0], y[0] + WALL), (WALL, z)),
        box(stuff, inner, (y[1] - WALL, y[1]), (WALL, z)),
    ]


def _flaps(palette: Palette, stuff: Material, x: Span, y: Span, z: float) -> list[Part]:
    """The two broad flaps, folded outward."""
    length = min(0.3 * (x[1] - x[0]), 0.9 * z)
    flaps = []
    for turn in (0, 180):
        flap = box(stuff, (0, length), y, (-0.004, 0))
        fold = palette.rng.uniform(-10, 50)
        flaps.append(flap.turned("y", fold).moved(x=x[1], z=z).turned("z", turn))
    return flaps


def _card(palette: Palette) -> Material:
    tone = srgb(*(np.array([0.72, 0.55, 0.37]) * palette.rng.uniform(0.7, 1.15)).clip(0, 1))
    return Material(made_of.rough(tone, np.asarray(tone * 0.8, np.float32), palette.rng))


def _any(palette: Palette) -> Material:
    return pick(palette.rng, (palette.paint(), palette.wood(), palette.cloth()))
