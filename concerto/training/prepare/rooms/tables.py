"""Tables and desks."""

from __future__ import annotations

import itertools

import numpy as np

from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.items import Item, Top
from concerto.training.prepare.rooms.palette import Palette, chance, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.shapes import (
    about,
    bar,
    box,
    centered,
    taper,
    turned_body,
)

# Width and depth at most of a table, and its height, by use: metres.
SIZES = {
    "dining": ((1.2, 2.0), (0.75, 1.0), (0.71, 0.77)),
    "coffee": ((0.6, 1.3), (0.45, 0.75), (0.32, 0.5)),
    "side": ((0.35, 0.55), (0.35, 0.55), (0.42, 0.62)),
}


def table(palette: Palette, use: str = "dining") -> Item:
    """A dining, coffee or side table: square, round or oval, on legs, a foot or panels."""
    rng = palette.rng
    widths, depths, heights = SIZES[use]
    width, depth, height = rng.uniform(*widths), rng.uniform(*depths), rng.uniform(*heights)
    board = palette.stone() if chance(rng, 0.15) else palette.body()
    frame = board if chance(rng, 0.5) else pick(rng, (palette.metal(), palette.wood()))
    thick = rng.uniform(0.015, 0.05)
    under = height - thick
    is_round = chance(rng, 0.3)
    if is_round:
        depth = width = min(width, 1.25) if use == "dining" else min(width, 0.95)
        edge = [
            (0, under),
            (width / 2 - 0.01, under),
            (width / 2, under + thick / 2),
            (width / 2, height),
            (0, height),
        ]
        parts = [turned_body(board, edge, sides=36)]
        reach = 0.35 * width
    else:
        parts = [box(board, centered(width), centered(depth), (under, height))]
        reach = 0.5 * width
    parts += _support(frame, (width, depth), under, is_round, use, rng)
    top = Top(
        centered(1.4 * reach if is_round else width - 0.06),
        centered(0.7 * depth if is_round else depth - 0.06),
        height,
        1.2,
    )
    tops = [top]
    if use != "dining" and not is_round and chance(rng, 0.35):
        low = 0.12 + 0.1 * rng.random()
        span = centered(width - 0.14), centered(depth - 0.14)
        parts.append(box(board, *span, (low, low + 0.015)))
        tops.append(Top(*span, low + 0.015, under - low - 0.1))
    return Item(Kind.TABLE, tuple(parts), tops=tuple(tops))


def desk(palette: Palette) -> Item:
    """A desk with drawers or panels or bare legs; its front is where one sits."""
    rng = palette.rng
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.55, 0.8), rng.uniform(0.7, 0.77)
    board = palette.body()
    frame = board if chance(rng, 0.5) else palette.metal()
    thick = rng.uniform(0.018, 0.035)
    under = height - thick
    parts = [box(board, centered(width), centered(depth), (under, height))]
    side = depth / 2
    drawers = pick(rng, ("none", "left", "right", "both"))
    for name, sign in (("left", -1), ("right", 1)):
        if drawers in (name, "both"):
            parts += _drawers(board, palette.metal(), sign, width, depth, under, rng)
        elif chance(rng, 0.4):
            end = sign * (width / 2 - 0.02)
            parts.append(box(frame, (end - 0.012, end + 0.012), centered(depth - 0.02), (0, under)))
        else:
            parts += _trestle(frame, sign * (width / 2 - 0.05), depth, under, rng)
    if chance(rng, 0.5):
        span = (-width / 2 + 0.46, width / 2 - 0.46)
        parts.append(
            box(board, span, (side - 0.05, side - 0.03), (under - rng.uniform(0.15, 0.4), under))
        )
    top = Top(centered(width - 0.06), centered(depth - 0.06), height, 1.2)
    return Item(Kind.DESK, tuple(parts), tops=(top,))


def _support(
    frame: Material,
    size: tuple[float, float],
    under: float,
    is_round: bool,
    use: str,
    rng: np.random.Generator,
) -> list[Part]:
    """What carries the board."""
    half = np.array(size) / 2 * (0.62 if is_round else 1)
    style = rng.random()
    if (is_round and style < 0.5) or (use == "side" and style < 0.3):
        foot = 0.5 * size[0] * rng.uniform(0.5, 0.8)
        profile = [
            (0, 0),
            (foot, 0),
            (foot, 0.02),
            (0.05, 0.06),
            (0.035, under * 0.5),
            (0.05, under),
            (0, under),
        ]
        return [turned_body(frame, profile, sides=24)]
    if not is_round and style < 0.15:
        ends = [s * (half[0] - rng.uniform(0.04, 0.2)) for s in (-1, 1)]
        return [
            box(frame, (e - 0.02, e + 0.02), centered(size[1] - 0.06), (0, under)) for e in ends
        ]
    if use == "coffee" and not is_round and style < 0.25:
        return [box(frame, centered(size[0] * 0.8), centered(size[1] * 0.8), (0, under))]
    thick, splay = rng.uniform(0.015, 0.045), rng.uniform(0, 0.06)
    inset = thick + rng.uniform(0.0, 0.06)
    round_legs = chance(rng, 0.35)
    parts: list[Part] = []
    for i in (-1, 1):
        for j in (-1, 1):
            x, y = i * (half[0] - inset), j * (half[1] - inset)
            fx, fy = x - i * splay * 0.3, y - j * splay * 0.3
            if round_legs:
                parts.append(bar(frame, (fx, fy, 0.004), (x, y, under), thick))
            else:
                end = about(fx, thick * 0.7), about(fy, thick * 0.7)
                parts.append(taper(frame, end, (about(x, thick), about(y, thick)), (0, under)))
    if chance(rng, 0.6) and under > 0.3:
        rail = (under - rng.uniform(0.04, 0.09), under)
        for s in (-1, 1):
            y, x = s * (half[1] - inset), s * (half[0] - inset)
            parts.append(box(frame, centered(2 * (half[0] - inset - thick)), about(y, 0.01), rail))
            parts.append(box(frame, about(x, 0.01), centered(2 * (half[1] - inset - thick)), rail))
    return parts


def _drawers(
    board: Material,
    metal: Material,
    sign: int,
    width: float,
    depth: float,
    under: float,
    rng: np.random.Generator,
) -> list[Part]:
    """A block of drawers below one end of a desk."""
    low, wide = rng.choice([0.0, 0.1]), rng.uniform(0.34, 0.42)
    x = (width / 2 - wide, width / 2 - 0.02)
    if sign < 0:
        x = (-x[1], -x[0])
    parts = [box(board, x, (-depth / 2 + 0.03, depth / 2 - 0.03), (low, under))]
    count = int(rng.integers(2, 5))
    rows = np.linspace(low, under, count + 1)
    for bottom, top in itertools.pairwise(rows):
        front = (-depth / 2 + 0.012, -depth / 2 + 0.03)
        parts.append(box(board, (x[0] + 0.004, x[1] - 0.004), front, (bottom + 0.004, top - 0.004)))
        grip = (sum(x) / 2 - 0.05, sum(x) / 2 + 0.05)
        parts.append(box(metal, grip, (-depth / 2, -depth / 2 + 0.012), about(top - 0.05, 0.006)))
    if low:
        parts += [
            box(metal, about(e, 0.015), about(y, 0.015), (0, low))
            for e in (x[0] + 0.03, x[1] - 0.03)
            for y in (-depth / 2 + 0.06, depth / 2 - 0.06)
        ]
    return parts


def _trestle(
    frame: Material, x: float, depth: float, under: float, rng: np.random.Generator
) -> list[Part]:
    """Two legs, joined by a bar at the foot or below the board."""
    thick = rng.uniform(0.012, 0.03)
    ends = (-depth / 2 + 0.05, depth / 2 - 0.05)
    legs = [box(frame, about(x, thick), about(y, thick), (0, under)) for y in ends]
    low = 0.0 if chance(rng, 0.3) else under - 0.04
    between = (ends[0] + thick, ends[1] - thick)
    return [*legs, box(frame, about(x, thick), between, (low, low + 0.03))]
