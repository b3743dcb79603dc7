"""Beds, and pillows for them and for sofas."""

from __future__ import annotations

import itertools

import numpy as np

from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.items import Item, Top
from concerto.training.prepare.rooms.palette import Palette, chance, cloth, pick
from concerto.training.prepare.rooms.parts import Part
from concerto.training.prepare.rooms.shapes import box, cylinder, soft_box


def bed(palette: Palette) -> Item:
    """A bed, its head at the back: frame or box spring, mattress, blanket."""
    rng = palette.rng
    width, length = pick(rng, (0.9, 1.0, 1.4, 1.6, 1.8)), rng.uniform(1.9, 2.1)
    frame = palette.cloth() if chance(rng, 0.25) else palette.body()
    sheet, cover = cloth(rng), palette.cloth()
    leg, rim = rng.uniform(0.05, 0.2), rng.uniform(0.1, 0.2)
    rise = leg + rim + rng.uniform(0.1, 0.2)
    x, y = (-width / 2, width / 2), (-length / 2, length / 2)
    parts = [box(frame, (x[0] - 0.02, x[1] + 0.02), (y[0] - 0.02, y[1]), (leg, leg + rim))]
    parts += [
        cylinder(frame, 0.03, (0, leg), (i * (width / 2 - 0.05), j * (length / 2 - 0.05)), sides=10)
        for i in (-1, 1)
        for j in (-1, 1)
    ]
    parts.append(soft_box(sheet, x, y, (leg + rim, rise), 0.06))
    parts += _head(palette, x, y[1], rise, leg)
    if chance(rng, 0.25):
        parts.append(
            box(
                frame,
                (x[0] - 0.02, x[1] + 0.02),
                (y[0] - 0.05, y[0] - 0.02),
                (0, rise + rng.uniform(0, 0.25)),
            )
        )
    end = y[1] - rng.uniform(0.5, 0.8)
    thick = rng.uniform(0.03, 0.08)
    hang = leg + rng.uniform(0, rim)
    parts.append(
        soft_box(
            cover,
            (x[0] - 0.035, x[1] + 0.035),
            (y[0] + 0.01, end),
            (rise - 0.01, rise + thick),
            0.03,
            puff=0.04,
        )
    )
    for side in (-1, 1):
        edge = side * (width / 2 + 0.028)
        parts.append(
            soft_box(
                cover, (edge - 0.008, edge + 0.008), (y[0] + 0.03, end), (hang, rise + 0.02), 0.006
            )
        )
    if chance(rng, 0.4):
        throw = palette.cloth()
        far = y[0] + rng.uniform(0.3, 0.7)
        top = rise + thick + 0.025
        parts.append(
            soft_box(throw, (x[0] - 0.05, x[1] + 0.05), (y[0] + 0.1, far), (rise, top), 0.02)
        )
    tops = (Top((x[0] + 0.04, x[1] - 0.04), (end + 0.01, y[1] - 0.03), rise, 0.8),)
    return Item(Kind.BED, tuple(parts), tops=tops)


def lying_pillow(palette: Palette, width: float, depth: float) -> Item:
    """A pillow that lies flat on a bed."""
    rng = palette.rng
    material = palette.cloth() if chance(rng, 0.5) else cloth(rng)
    half = min(width, rng.uniform(0.45, 0.8)) / 2, min(depth, rng.uniform(0.35, 0.5)) / 2
    height = rng.uniform(0.1, 0.15)
    part = soft_box(
        material, (-half[0], half[0]), (-half[1], half[1]), (0.03, height - 0.03), 0.03, puff=0.06
    )
    return Item(Kind.PILLOW, (part.moved(z=-part.bounds()[0, 2]),), rests="top")


def leaning_pillow(palette: Palette) -> Item:
    """A cushion that leans against the back of a sofa."""
    rng = palette.rng
    side, thick = rng.uniform(0.34, 0.5), rng.uniform(0.05, 0.08)
    high = side * rng.choice([1.0, 0.7])
    part = soft_box(
        palette.cloth(), (-side / 2, side / 2), (-thick / 2, thick / 2), (0, high), 0.024, puff=0.07
    )
    part = part.turned("x", -rng.uniform(5, 15))
    return Item(Kind.PILLOW, (part.moved(z=-part.bounds()[0, 2]),), rests="top")


def _head(
    palette: Palette, x: tuple[float, float], back: float, rise: float, leg: float
) -> list[Part]:
    """A headboard: a panel, bars, or a cushion; or none."""
    rng = palette.rng
    top = rise + rng.uniform(0.25, 0.65)
    wide = (x[0] - rng.uniform(0.02, 0.12), x[1] + rng.uniform(0.02, 0.12))
    style = pick(rng, ("panel", "bars", "cushion", "cushions", "none"))
    if style == "none":
        return []
    if style == "panel":
        return [box(palette.body(), wide, (back, back + rng.uniform(0.03, 0.08)), (0, top))]
    if style == "cushion":
        return [soft_box(palette.cloth(), wide, (back, back + 0.1), (leg, top), 0.03, puff=0.02)]
    if style == "cushions":
        cover, edges = palette.cloth(), np.linspace(*wide, int(rng.integers(3, 7)))
        rows = np.linspace(rise - 0.1, top, int(rng.integers(2, 4)))
        pads = [
            soft_box(
                cover,
                (a + 0.003, b - 0.003),
                (back + 0.02, back + 0.09),
                (c + 0.003, d - 0.003),
                0.03,
                puff=0.02,
            )
            for a, b in itertools.pairwise(edges)
            for c, d in itertools.pairwise(rows)
        ]
        return [*pads, box(cover, wide, (back, back + 0.02), (0, top))]
    metal = palette.metal() if chance(rng, 0.5) else palette.wood()
    places = np.linspace(wide[0] + 0.02, wide[1] - 0.02, int(rng.integers(6, 14)))
    bars = [
        box(
            metal,
            (p - 0.012, p + 0.012),
            (back, back + 0.025),
            (0 if p in (places[0], places[-1]) else rise - 0.1, top),
        )
        for p in places
    ]
    rails = [box(metal, wide, (back, back + 0.03), (z, z + 0.04)) for z in (rise - 0.12, top)]
    return bars + rails
