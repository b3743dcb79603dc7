"""Plants in pots: swords, broad leaves, bushes, trees, palms, trailing ones, cacti, flowers."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from concerto.training.prepare.rooms import textures as made_of
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.colors import any_color, srgb
from concerto.training.prepare.rooms.items import Item
from concerto.training.prepare.rooms.palette import Palette, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.shapes import ball, bar, sheet, turned_body

# The parts of a plant whose leaves start at a height and reach a height.
Grow = Callable[[Palette, Material, float, float], list[Part]]


def plant(palette: Palette, height: float, rests_on_top: bool = False) -> Item:
    """A plant in a pot, about as high as given, in metres."""
    rng = palette.rng
    kinds: tuple[Grow, ...] = (_swords, _broad, _bush, _tree, _palm, _trailing, _cactus, _flowers)
    pot_share = rng.uniform(0.18, 0.35)
    pot = height * pot_share
    hue = srgb(
        *(np.array([0.25, 0.45, 0.18]) * rng.uniform(0.4, 1.4) + rng.uniform(0, 0.15, 3)).clip(0, 1)
    )
    leaf = Material(made_of.rough(hue, np.asarray(hue * 0.5, np.float32), rng, 0.05), gloss=0.15)
    parts = [_pot(palette, pot), *pick(rng, kinds)(palette, leaf, pot, height)]
    rise = max(0.0, -min(float(part.bounds()[0, 2]) for part in parts))
    parts = [part.moved(z=rise) for part in parts]
    return Item(Kind.PLANT, tuple(parts), rests="top" if rests_on_top else "floor")


def _pot(palette: Palette, high: float) -> Part:
    rng = palette.rng
    radius = min(high * rng.uniform(0.4, 0.7), 0.22)
    clay = pick(rng, (palette.ceramic(), palette.paint(), palette.stone(), palette.wood()))
    lower = radius * rng.uniform(0.6, 1.0)
    profile = [
        (0, 0),
        (lower, 0),
        (radius, high),
        (radius * 0.88, high),
        (radius * 0.88, high * 0.88),
        (0, high * 0.88),
    ]
    return turned_body(clay, profile)


def _swords(palette: Palette, leaf: Material, low: float, high: float) -> list[Part]:
    rng, top = palette.rng, high - low
    return [
        _leaf(leaf, top * rng.uniform(0.5, 1), 0.025 + 0.02 * high, rng.uniform(2, 22), rng)
        .turned("z", rng.uniform(0, 360))
        .moved(z=low * 0.88)
        for _ in range(14)
    ]


def _broad(palette: Palette, leaf: Material, low: float, high: float) -> list[Part]:
    rng, top = palette.rng, high - low
    return [
        _leaf(leaf, top * rng.uniform(0.6, 1), 0.05 + 0.09 * high, rng.uniform(15, 70), rng)
        .turned("z", rng.uniform(0, 360))
        .moved(z=low * 0.88)
        for _ in range(16)
    ]


def _bush(palette: Palette, leaf: Material, low: float, high: float) -> list[Part]:
    top = high - low
    return _crown(palette.rng, leaf, low + 0.35 * top, 0.32 * top, high, 60)


def _tree(palette: Palette, leaf: Material, low: float, high: float) -> list[Part]:
    top = high - low
    trunk = bar(palette.wood(), (0, 0, low * 0.8), (0, 0, low + 0.6 * top), 0.012 + 0.01 * high)
    return [trunk, *_crown(palette.rng, leaf, low + 0.62 * top, 0.3 * top, high, 90)]


def _crown(
    rng: Generator, leaf: Material, middle: float, spread: float, high: float, count: int
) -> list[Part]:
    """Leaves throughout a ball."""
    parts = []
    for number in range(count):
        way = rng.normal(size=3)
        at = spread * way / np.linalg.norm(way) * ((number + 0.5) / count) ** (1 / 3)
        one = _leaf(leaf, 0.07 + 0.09 * high, 0.03 + 0.04 * high, rng.uniform(30, 110), rng)
        at[2] = max(at[2] + middle, middle - spread)
        parts.append(one.turned("z", rng.uniform(0, 360)).moved(*at))
    return parts


def _palm(palette: Palette, leaf: Material, low: float, high: float) -> list[Part]:
    """Fronds that bend outward, with leaflets on both sides."""
    rng, top = palette.rng, high - low
    parts = []
    stem = top * rng.uniform(0.1, 0.45)
    trunk = bar(palette.wood(), (0, 0, low * 0.8), (0, 0, low + stem), 0.01 + 0.015 * high)
    for number in range(8):
        turn, lean = 45 * number + rng.uniform(-15, 15), rng.uniform(10, 45)
        spine = _bent(top - stem, lean, rng) + np.array([0, low + stem])
        frond = [
            bar(leaf, (a[0], 0, a[1]), (b[0], 0, b[1]), 0.006, sides=5)
            for a, b in itertools.pairwise(spine)
        ]
        for share in np.linspace(0.25, 0.97, 8):
            x, z = (float(np.interp(5 * share, range(6), spine[:, k])) for k in range(2))
            length = (top - stem) * (0.12 + 0.3 * np.sin(np.pi * share))
            for side in (-1, 1):
                one = _leaf(leaf, length, 0.02 + 0.03 * high, rng.uniform(50, 75), rng)
                frond.append(one.turned("z", side * 60.0).moved(x, 0, z))
        parts += [part.turned("z", turn) for part in frond]
    return [trunk, *parts]


def _trailing(palette: Palette, leaf: Material, low: float, high: float) -> list[Part]:
    """Small leaves along strands that hang over the pot's rim."""
    rng = palette.rng
    parts = _crown(rng, leaf, low * 1.1, 0.25 * low, 0.3 * high, 20)
    for _ in range(12):
        turn, reach, drop = rng.uniform(0, 360), low * rng.uniform(0.5, 0.8), rng.uniform(0.3, 0.85)
        for share in np.linspace(0.2, 1, 6):
            at = (reach * min(1.0, 2 * share), 0, low * (1.05 - drop * max(0.0, share - 0.4) / 0.6))
            one = _leaf(leaf, 0.05 + 0.04 * high, 0.03 + 0.03 * high, rng.uniform(60, 120), rng)
            parts.append(one.turned("z", rng.uniform(-60, 60)).moved(*at).turned("z", turn))
    return parts


def _cactus(palette: Palette, leaf: Material, low: float, high: float) -> list[Part]:
    """Round columns, or one with arms."""
    rng, top = palette.rng, high - low
    radius = min(0.3 * top, 0.25 * low + 0.02) * rng.uniform(0.5, 0.8)
    parts = [_column(leaf, radius, low * 0.85, high)]
    for side in (-1, 1):
        if rng.random() < 0.6:
            start, reach = low + top * rng.uniform(0.3, 0.6), radius * rng.uniform(2.0, 3.0)
            parts.append(bar(leaf, (0, 0, start), (side * reach, 0, start), radius * 0.55))
            end = start + 0.3 * top
            parts.append(_column(leaf, radius * 0.6, start - radius / 2, end).moved(x=side * reach))
    turn = rng.uniform(0, 180)
    return [part.turned("z", turn) for part in parts]


def _column(leaf: Material, radius: float, low: float, high: float) -> Part:
    angle = np.linspace(0, np.pi / 2, 6)
    cap = min(radius, 0.5 * (high - low))
    dome = [(radius * np.cos(a), high - cap + cap * np.sin(a)) for a in angle]
    return turned_body(leaf, [(radius * 0.8, low), *dome])


def _flowers(palette: Palette, leaf: Material, low: float, high: float) -> list[Part]:
    """Stems with blossoms over a few leaves."""
    rng, top = palette.rng, high - low
    petal = Material(made_of.plain(any_color(rng, (0.3, 0.9), (0.6, 1.0)), rng, 0.1))
    parts = _broad(palette, leaf, low, low + 0.55 * top)[:9]
    for _ in range(int(rng.integers(4, 10))):
        way, out = rng.uniform(0, 2 * np.pi), top * rng.uniform(0, 0.3)
        radius = min(0.05, 0.08 * high) * rng.uniform(0.7, 1.2)
        head = (out * np.cos(way), out * np.sin(way), low + top * rng.uniform(0.6, 1) - radius)
        parts.append(bar(leaf, (0, 0, low * 0.88), head, 0.004, sides=6))
        parts.append(ball(petal, radius, head, squash=0.6))
    return parts


def _bent(length: float, lean: float, rng: Generator) -> NDArray[np.float64]:
    """(6, 2): outward and upward along something that starts at 0, leans and bends outward."""
    bend = np.radians(lean + rng.uniform(10, 45) * np.linspace(0, 1, 6))
    step = np.stack([np.sin(bend[1:]), np.cos(bend[1:])], 1) * length / 5
    return np.concatenate([np.zeros((1, 2)), np.cumsum(step, 0)])


def _leaf(material: Material, length: float, wide: float, lean: float, rng: Generator) -> Part:
    """A leaf that starts at the origin, leans and bends outward along x."""
    x, z = _bent(length, lean, rng).T
    half = wide / 2 * np.sin(np.pi * (0.06 + 0.9 * np.linspace(0, 1, 6))) ** 0.8
    across = np.linspace(-1, 1, 3)
    grid = np.stack(
        [
            np.repeat(x[:, None], 3, 1),
            half[:, None] * across,
            z[:, None] + 0.25 * half[:, None] * np.abs(across),
        ],
        -1,
    )
    return sheet(material, grid)
