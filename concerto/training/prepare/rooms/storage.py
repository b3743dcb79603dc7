"""Cabinets, shelves and what stands in them."""

from __future__ import annotations

import itertools

import numpy as np

from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.items import Item, Top
from concerto.training.prepare.rooms.palette import Palette, chance, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.prints import spines
from concerto.training.prepare.rooms.shapes import about, bar, box, centered, cylinder

# Width, depth, height of cabinets by use: metres.
CABINETS = {
    "wardrobe": ((0.9, 2.2), (0.5, 0.65), (1.8, 2.25)),
    "sideboard": ((1.0, 2.0), (0.38, 0.5), (0.6, 0.9)),
    "dresser": ((0.7, 1.4), (0.4, 0.52), (0.7, 1.15)),
    "nightstand": ((0.38, 0.55), (0.33, 0.45), (0.4, 0.62)),
    "media": ((1.1, 1.9), (0.35, 0.48), (0.35, 0.6)),
    "file": ((0.4, 0.8), (0.4, 0.6), (0.65, 1.35)),
    "wall": ((0.5, 1.0), (0.15, 0.35), (0.5, 0.75)),
}


def cabinet(palette: Palette, use: str = "sideboard") -> Item:
    """A body with doors or drawers in front, on a plinth or on legs."""
    rng = palette.rng
    size = [rng.uniform(*span) for span in CABINETS[use]]
    body = palette.body()
    front = body if chance(rng, 0.6) else palette.body()
    leg = 0.0 if use == "wall" else pick(rng, (0.0, 0.06, 0.06, rng.uniform(0.1, 0.2)))
    parts = front_body(palette, body, front, size, leg, use)
    top = Top(centered(size[0] - 0.06), centered(size[1] - 0.06), size[2], 1.0)
    tops = (top,) if size[2] < 1.5 and use != "wall" else ()
    return Item(Kind.CABINET, tuple(parts), tops=tops, rests="wall" if use == "wall" else "floor")


def front_body(
    palette: Palette, body: Material, front: Material, size: list[float], leg: float, use: str
) -> list[Part]:
    """A cabinet's pieces: size is width, depth, height."""
    rng = palette.rng
    width, depth, height = size
    metal = palette.metal()
    parts = [box(body, centered(width), (-depth / 2 + 0.035, depth / 2), (leg, height))]
    if leg:
        if chance(rng, 0.4) and leg < 0.08:
            parts.append(
                box(body, centered(width - 0.04), (-depth / 2 + 0.08, depth / 2), (0, leg))
            )
        else:
            ends = [
                (i * (width / 2 - 0.05), j * (depth / 2 - 0.07)) for i in (-1, 1) for j in (-1, 1)
            ]
            parts += [cylinder(metal, 0.018, (0, leg), end, sides=10) for end in ends]
    wide = max(1, round(width / rng.uniform(0.4, 0.65)))
    drawers = {"dresser": 0.85, "nightstand": 0.6, "file": 0.7, "media": 0.4}.get(use, 0.15)
    columns = np.linspace(-width / 2, width / 2, wide + 1)
    grip = pick(rng, ("bar", "knob", "none", "long"))
    for left, right in itertools.pairwise(columns):
        count = (
            max(1, round((height - leg) / rng.uniform(0.18, 0.3))) if chance(rng, drawers) else 1
        )
        rows = np.linspace(leg, height, count + 1)
        for low, high in itertools.pairwise(rows):
            span, tall = (left + 0.003, right - 0.003), (low + 0.003, high - 0.003)
            parts.append(box(front, span, (-depth / 2 + 0.017, -depth / 2 + 0.035), tall))
            parts += _grip(grip, metal, span, tall, -depth / 2, is_drawer=count > 1)
    return parts


def shelf(palette: Palette, low: bool = False) -> Item:
    """An open bookcase, with or without a back; each board carries things."""
    rng = palette.rng
    width, depth = rng.uniform(0.5, 1.4), rng.uniform(0.24, 0.4)
    height = rng.uniform(0.7, 1.1) if low else rng.uniform(1.4, 2.2)
    board = palette.body()
    frame = palette.metal() if chance(rng, 0.25) else board
    thick = rng.uniform(0.015, 0.03)
    rows = max(2, round(height / rng.uniform(0.3, 0.42)))
    levels = np.linspace(rng.uniform(0.03, 0.12), height - thick, rows + 1)
    inner = width / 2 - thick
    parts: list[Part] = []
    if frame is board:
        parts += [
            box(frame, about(s * (width / 2 - thick / 2), thick / 2), centered(depth), (0, height))
            for s in (-1, 1)
        ]
    else:
        parts += [
            box(
                frame,
                about(i * (width / 2 - 0.012), 0.012),
                about(j * (depth / 2 - 0.012), 0.012),
                (0, height),
            )
            for i in (-1, 1)
            for j in (-1, 1)
        ]
        inner = width / 2 - 0.026
    parts += [box(board, (-inner, inner), centered(depth), (z, z + thick)) for z in levels]
    if frame is board and chance(rng, 0.7):
        parts.append(
            box(board, (-inner, inner), (depth / 2, depth / 2 + 0.008), (levels[0], height))
        )
    if chance(rng, 0.3) and width > 0.9:
        parts += [
            box(board, about(0, thick / 2), centered(depth), (low_ + thick, high))
            for low_, high in itertools.pairwise(levels)
        ]
        spans = [(-inner + 0.005, -thick / 2 - 0.005), (thick / 2 + 0.005, inner - 0.005)]
    else:
        spans = [(-inner + 0.005, inner - 0.005)]
    tops = [
        Top(span, (-depth / 2 + 0.01, depth / 2 - 0.01), level + thick, gap)
        for level, gap in zip(levels, [*(np.diff(levels) - thick - 0.01), 0.5], strict=True)
        for span in spans
        if level + thick < 1.9
    ]
    return Item(Kind.SHELF, tuple(parts), tops=tuple(tops))


def wall_shelf(palette: Palette) -> Item:
    """A board on the wall."""
    rng = palette.rng
    width, depth, thick = rng.uniform(0.5, 1.3), rng.uniform(0.16, 0.28), rng.uniform(0.015, 0.04)
    parts = [box(palette.body(), centered(width), centered(depth), (0.12, 0.12 + thick))]
    if chance(rng, 0.6):
        metal = palette.metal()
        for s in (-1, 1):
            x = s * width * 0.35
            parts.append(bar(metal, (x, depth / 2 - 0.01, 0.02), (x, -depth / 4, 0.112), 0.008))
            parts.append(box(metal, about(x, 0.01), (depth / 2 - 0.008, depth / 2), (0, 0.12)))
    tops = (Top(centered(width - 0.04), centered(depth - 0.02), 0.12 + thick, 0.35),)
    return Item(Kind.SHELF, tuple(parts), tops=tops, rests="wall")


def books(palette: Palette, width: float, depth: float, clear: float) -> Item:
    """A row or a pile of books that fits a width, a depth and a height."""
    rng = palette.rng
    if clear < 0.2 or chance(rng, 0.15):
        return _pile(palette, min(width, 0.3), depth, clear)
    covers = [Material(spines(rng), upright=True) for _ in range(5)]
    tall, deep = (
        min(clear - 0.02, rng.uniform(0.19, 0.32)),
        min(depth - 0.01, rng.uniform(0.13, 0.22)),
    )
    length = min(width, rng.uniform(0.15, 0.9))
    parts: list[Part] = []
    x = 0.0
    while True:
        thick = rng.uniform(0.012, 0.05)
        if x + thick > length:
            break
        high, reach = tall * rng.uniform(0.72, 1), deep * rng.uniform(0.8, 1)
        parts.append(
            box(
                pick(rng, covers), centered(thick), (-deep / 2, -deep / 2 + reach), (0, high)
            ).moved(x=x + thick / 2)
        )
        x += thick + 0.001
    parts = [part.moved(x=-x / 2) for part in parts]
    return Item(Kind.BOOKS, tuple(parts), rests="top")


def _pile(palette: Palette, width: float, depth: float, clear: float) -> Item:
    rng = palette.rng
    parts: list[Part] = []
    z = 0.0
    for _ in range(int(rng.integers(1, 6))):
        thick = rng.uniform(0.012, 0.045)
        if z + thick > clear - 0.01 and parts:
            break
        half = (
            rng.uniform(0.6, 0.95) * min(width, 0.28) / 2,
            rng.uniform(0.6, 0.9) * min(depth, 0.22) / 2,
        )
        cover = Material(spines(rng, lying=True), upright=True)
        book = box(cover, centered(2 * half[0]), centered(2 * half[1]), centered(thick))
        parts.append(book.moved(z=z + thick / 2).turned("z", rng.uniform(-6, 6)))
        z += thick
    return Item(Kind.BOOKS, tuple(parts), rests="top")


def _grip(
    style: str,
    metal: Material,
    span: tuple[float, float],
    tall: tuple[float, float],
    front: float,
    is_drawer: bool,
) -> list[Part]:
    """A handle in front of a door or a drawer."""
    y = (front, front + 0.017)
    middle = (span[0] + span[1]) / 2
    if style == "none":
        return []
    if is_drawer:
        z = (tall[0] + tall[1]) / 2
        half = {"bar": 0.06, "long": 0.35 * (span[1] - span[0]), "knob": 0.015}[style]
        return [box(metal, about(middle, half), y, about(z, 0.006 if half > 0.02 else 0.015))]
    x = span[1] - 0.05 if middle < 0 else span[0] + 0.05
    z = (tall[0] + tall[1]) / 2
    half = {"bar": 0.07, "long": 0.3 * (tall[1] - tall[0]), "knob": 0.015}[style]
    return [box(metal, about(x, 0.006 if half > 0.02 else 0.015), y, about(z, half))]
