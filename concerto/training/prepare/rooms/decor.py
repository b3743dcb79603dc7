"""Pictures, screens, rugs, curtains."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms import textures as made_of
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.colors import any_color, grey
from concerto.training.prepare.rooms.items import Item
from concerto.training.prepare.rooms.palette import Palette, chance, cloth, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.prints import painting, screen
from concerto.training.prepare.rooms.shapes import (
    about,
    bar,
    box,
    centered,
    cylinder,
    sheet,
)


def picture(palette: Palette) -> Item:
    """A framed picture, a canvas, or a poster, its middle at z = 0."""
    rng = palette.rng
    width, height = rng.uniform(0.2, 1.1), rng.uniform(0.25, 0.9)
    rim, deep = pick(rng, (0.0, 0.0, rng.uniform(0.01, 0.07))), rng.uniform(0.008, 0.04)
    canvas = Material(
        painting((width, height), rng), upright=True, gloss=0.3 * (rng.random() < 0.3)
    )
    parts = [box(canvas, centered(width), (-deep * 0.6, 0), centered(height))]
    if rim:
        frame = palette.body() if chance(rng, 0.6) else palette.metal()
        x, z = width / 2, height / 2
        for side in (-1, 1):
            parts.append(
                box(
                    frame,
                    about(side * (x + rim / 2), rim / 2),
                    (-deep, 0),
                    centered(height + 2 * rim),
                )
            )
            parts.append(
                box(frame, centered(width), (-deep, 0), about(side * (z + rim / 2), rim / 2))
            )
    return Item(Kind.PICTURE, tuple(parts), rests="wall")


def monitor(palette: Palette) -> Item:
    """A screen on a foot, or a laptop."""
    rng = palette.rng
    if chance(rng, 0.3):
        return _laptop(palette)
    width = rng.uniform(0.42, 0.75)
    height, lift = width * rng.uniform(0.5, 0.64), rng.uniform(0.08, 0.16)
    case = palette.paint() if chance(rng, 0.5) else palette.metal()
    parts = _panel(palette, case, width, height, lift, rng.uniform(0.015, 0.05))
    foot = rng.uniform(0.09, 0.14)
    parts.append(box(case, centered(2 * foot), (-0.08, 0.1), (0, 0.012)))
    parts.append(box(case, centered(0.05), (0.02, 0.04), (0.012, lift + height / 2)))
    return Item(Kind.SCREEN, tuple(parts), rests="top")


def television(palette: Palette, on_wall: bool) -> Item:
    """A large screen, on two feet or on the wall (its middle at z = 0)."""
    rng = palette.rng
    width = rng.uniform(0.8, 1.45)
    height = width * 0.5625
    case = Material(made_of.plain(grey(rng, (0.02, 0.2)), rng), gloss=0.4, holes=0.2)
    if on_wall:
        parts = [
            part.moved(y=-0.03) for part in _panel(palette, case, width, height, -height / 2, 0.03)
        ]
        parts.append(box(case, centered(0.2), (-0.01, 0), centered(0.2)))
        return Item(Kind.SCREEN, tuple(parts), rests="wall")
    lift = rng.uniform(0.05, 0.09)
    parts = _panel(palette, case, width, height, lift, 0.03)
    for side in (-1, 1):
        x = side * width * 0.3
        parts.append(box(case, about(x, 0.01), (-0.1, 0.1), (0, 0.012)))
        parts.append(box(case, about(x, 0.01), centered(0.02), (0.012, lift)))
    return Item(Kind.SCREEN, tuple(parts), rests="top")


def rug(palette: Palette, width: float, depth: float) -> Item:
    """A rectangular, round or oval rug, patterned or plain, at times with a border."""
    rng = palette.rng
    high = rng.uniform(0.006, 0.014)
    color = any_color(rng, (0, 0.7), (0.15, 0.9))
    pile = made_of.carpet(color, np.asarray(color * 0.6, np.float32), rng)
    body = Material(pile) if chance(rng, 0.35) else cloth(rng)
    if chance(rng, 0.25):
        radius = min(width, depth) / 2
        part = cylinder(body, radius, (0, high), sides=48)
        return Item(Kind.RUG, (part,), soft=True)
    parts = [box(body, centered(width), centered(depth), (0, high))]
    if chance(rng, 0.5):
        edge, border = rng.uniform(0.04, 0.15), palette.cloth()
        for s in (-1, 1):
            parts.append(
                box(
                    border,
                    centered(width),
                    about(s * (depth - edge) / 2, edge / 2),
                    (0, high + 0.002),
                )
            )
            parts.append(
                box(
                    border,
                    about(s * (width - edge) / 2, edge / 2),
                    centered(depth - 2 * edge),
                    (0, high + 0.002),
                )
            )
    return Item(Kind.RUG, tuple(parts), soft=True)


def curtain(palette: Palette, width: float, high: float, low: float) -> Item:
    """A pair of curtains with a rod, or a roller blind, for a window of some width.

    high, low: heights of the rod and of the hem above the floor, where the frame's origin is.
    """
    rng = palette.rng
    fabric = palette.cloth()
    if chance(rng, 0.25):
        hem = high - (high - low) * rng.uniform(0.15, 0.6)
        grid = _folds(width + 0.1, high, hem, 0.0, 0, rng)
        roll = bar(fabric, (-width / 2 - 0.05, 0, high), (width / 2 + 0.05, 0, high), 0.03)
        weight = box(palette.metal(), centered(width + 0.1), (-0.008, 0.008), (hem - 0.02, hem))
        return Item(Kind.CURTAIN, (sheet(fabric, grid), roll, weight), rests="wall")
    parts: list[Part] = []
    reach = width / 2 + rng.uniform(0.1, 0.25)
    covered = rng.uniform(0.16, 0.38) * width + 0.12
    for side in (-1, 1):
        if chance(rng, 0.08):
            continue
        grid = _folds(
            covered,
            high - 0.03,
            low,
            rng.uniform(0.02, 0.035),
            covered / rng.uniform(0.08, 0.14),
            rng,
        )
        parts.append(sheet(fabric, grid).moved(x=side * (reach - covered / 2)))
    parts.append(bar(palette.metal(), (-reach - 0.05, 0, high), (reach + 0.05, 0, high), 0.012))
    return Item(Kind.CURTAIN, tuple(parts), rests="wall")


def _folds(
    width: float, high: float, low: float, deep: float, waves: float, rng: np.random.Generator
) -> np.ndarray:
    """A grid of points across a hanging cloth, deeper folds at the hem."""
    u, v = np.meshgrid(np.linspace(0, 1, 72), np.linspace(0, 1, 8), indexing="ij")
    phase = 2 * np.pi * waves * u + 0.8 * np.sin(2 * np.pi * u * 2 + rng.uniform(0, 6))
    y = deep * (0.6 + 0.4 * v) * np.sin(phase)
    return np.stack([(u - 0.5) * width, y, high + (low - high) * v], -1)


def _panel(
    palette: Palette, case: Material, width: float, height: float, low: float, edge: float
) -> list[Part]:
    """A flat screen upright: its case and what it shows."""
    rng = palette.rng
    lit = rng.uniform(0.6, 1.4)
    shows = Material(screen((width, height), rng), gloss=0.4, glow=lit, upright=True, holes=0.25)
    face = box(shows, centered(width - 2 * edge), (-0.012, -0.01), centered(height - 2 * edge))
    back = box(case, centered(width), (-0.01, 0.02), centered(height))
    return [part.moved(z=low + height / 2) for part in (face, back)]


def _laptop(palette: Palette) -> Item:
    rng = palette.rng
    case, width = palette.metal(), rng.uniform(0.3, 0.38)
    depth = width * 0.7
    keys = Material(made_of.tiles(grey(rng, (0.05, 0.3)), grey(rng, (0.5, 0.8)), rng, 0.018))
    parts = [
        box(case, centered(width), centered(depth), (0, 0.016)),
        box(keys, centered(width - 0.03), (-depth * 0.1, depth * 0.4), (0.016, 0.018)),
    ]
    lid = _panel(palette, case, width, depth, 0, 0.01)
    lean = -rng.uniform(5, 30)
    hinge = (0.0, depth / 2 - 0.022, 0.018)
    parts += [part.moved(y=hinge[1], z=hinge[2]).turned("x", lean, hinge) for part in lid]
    low = min(float(part.bounds()[0, 2]) for part in parts)
    return Item(Kind.SCREEN, tuple(part.moved(z=-low) for part in parts), rests="top")
