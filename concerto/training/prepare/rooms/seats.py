"""Chairs and sofas."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.items import Item, Top
from concerto.training.prepare.rooms.palette import Palette, chance, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.shapes import about, bar, box, cylinder, soft_box, taper


def chair(palette: Palette) -> Item:
    """A wooden, upholstered, metal or shell chair, or a stool."""
    rng = palette.rng
    width, depth, seat = rng.uniform(0.38, 0.52), rng.uniform(0.38, 0.5), rng.uniform(0.42, 0.48)
    x, y = (-width / 2, width / 2), (-depth / 2, depth / 2)
    frame = palette.metal() if chance(rng, 0.25) else palette.body()
    cover = palette.cloth() if chance(rng, 0.5) else frame
    parts = _legs(frame, x, y, seat - 0.03, rng)
    thick = rng.uniform(0.02, 0.035)
    if cover is frame:
        parts.append(box(frame, x, y, (seat - thick, seat)))
    else:
        parts.append(soft_box(cover, x, y, (seat - 0.03, seat + 0.05), 0.025, puff=0.02))
    if not chance(rng, 0.08):
        top = seat + rng.uniform(0.35, 0.6)
        parts += _back(frame, cover, x, y[1], (seat - 0.02, top), rng)
        if chance(rng, 0.15):
            parts += _arms(frame, x, y, seat + rng.uniform(0.18, 0.24), seat, rng)
    return Item(Kind.CHAIR, tuple(parts))


def office_chair(palette: Palette) -> Item:
    """A swivel chair on a star of wheels."""
    rng = palette.rng
    metal, shell, cover = palette.metal(), palette.paint(), palette.cloth()
    if chance(rng, 0.4):
        shell = cover
    seat, width = rng.uniform(0.44, 0.52), rng.uniform(0.44, 0.54)
    parts = [cylinder(metal, 0.03, (0.09, seat - 0.06))]
    for number in range(5):
        spoke = taper(
            metal,
            ((0.0, 0.29), (-0.015, 0.015)),
            ((0.0, 0.27), (-0.025, 0.025)),
            (0.06, 0.1),
        )
        wheel = cylinder(shell, 0.025, (0, 0.06), (0.28, 0), sides=10)
        parts += [spoke.turned("z", 72 * number), wheel.turned("z", 72 * number)]
    half = width / 2
    parts.append(soft_box(cover, (-half, half), (-0.24, 0.22), (seat - 0.06, seat + 0.03), 0.04))
    top = seat + rng.uniform(0.4, 0.75)
    back = soft_box(
        shell, (-half * 0.9, half * 0.9), (0.2, 0.28), (seat + 0.08, top), 0.04, puff=0.03
    )
    parts.append(back.turned("x", -rng.uniform(0, 8), (0, 0.24, seat + 0.08)))
    parts.append(box(metal, (-0.03, 0.03), (0.22, 0.26), (seat - 0.05, seat + 0.2)))
    if chance(rng, 0.7):
        for side in (-1, 1):
            place = side * (half + 0.03)
            parts.append(box(metal, about(place, 0.012), (0.0, 0.05), (seat - 0.03, seat + 0.2)))
            parts.append(
                soft_box(shell, about(place, 0.03), (-0.15, 0.13), (seat + 0.2, seat + 0.24), 0.015)
            )
    return Item(Kind.CHAIR, tuple(parts))


def sofa(palette: Palette, seats: int | None = None) -> Item:
    """A sofa of one to four seats, at times with a long end."""
    rng = palette.rng
    seats = seats or int(rng.integers(2, 5))
    cover = palette.cloth()
    second = palette.cloth() if chance(rng, 0.2) else cover
    arm = rng.uniform(0.08, 0.25) if not chance(rng, 0.12) else 0.0
    one, depth = rng.uniform(0.55, 0.75), rng.uniform(0.78, 1.0)
    seat, back, leg = rng.uniform(0.38, 0.48), rng.uniform(0.7, 0.95), rng.uniform(0.03, 0.16)
    inner = one * seats / 2
    y = (-depth / 2, depth / 2)
    thick, soft = rng.uniform(0.14, 0.26), rng.uniform(0.03, 0.07)
    base = seat - rng.uniform(0.12, 0.18)
    end = inner + arm
    parts = [soft_box(cover, (-end, end), y, (leg, base), 0.02)]
    feet = palette.wood() if chance(rng, 0.6) else palette.metal()
    parts += [
        cylinder(feet, 0.025, (0, leg), (i * (end - 0.06), j * (depth / 2 - 0.06)))
        for i in (-1, 1)
        for j in (-1, 1)
    ]
    parts.append(soft_box(cover, (-end, end), (y[1] - thick, y[1]), (base, back - 0.08), soft))
    if arm:
        rise = seat + rng.uniform(0.08, 0.25)
        for side in (-1, 1):
            x = (inner, inner + arm) if side > 0 else (-inner - arm, -inner)
            parts.append(soft_box(cover, x, (y[0], y[1] - thick), (base, rise), soft))
    for number in range(seats):
        x = (-inner + number * one + 0.004, -inner + (number + 1) * one - 0.004)
        parts.append(soft_box(second, x, (y[0], y[1] - thick), (base, seat), 0.04, puff=0.03))
        cushion = (y[1] - thick - 0.16, y[1] - thick)
        parts.append(soft_box(second, x, cushion, (seat, back), 0.05, puff=0.05))
    if seats > 1 and chance(rng, 0.25):
        x = (inner - one, inner) if chance(rng, 0.5) else (-inner, -inner + one)
        far = y[0] - rng.uniform(0.45, 0.75)
        parts.append(soft_box(cover, x, (far, y[0]), (leg, base), 0.02))
        parts.append(soft_box(second, x, (far, y[0]), (base, seat), 0.04, puff=0.03))
        parts.append(cylinder(feet, 0.025, (0, leg), (sum(x) / 2, far + 0.08)))
    front = y[1] - thick - 0.2
    tops = (Top((-inner + 0.03, inner - 0.03), (y[0] + 0.05, front), seat + 0.017, 0.8),)
    return Item(Kind.SOFA, tuple(parts), tops=tops)


def _legs(
    frame: Material,
    x: tuple[float, float],
    y: tuple[float, float],
    top: float,
    rng: np.random.Generator,
) -> list[Part]:
    """Four legs, two sleds, or a stem on a disc."""
    style = rng.random()
    if style < 0.15:
        return [
            cylinder(frame, rng.uniform(0.18, 0.24), (0, 0.025)),
            cylinder(frame, 0.03, (0.025, top)),
        ]
    if style < 0.3:
        bars = []
        for side in (x[0] + 0.02, x[1] - 0.02):
            bars += [
                box(frame, about(side, 0.01), y, (0, 0.02)),
                box(frame, about(side, 0.01), (y[0], y[0] + 0.02), (0.02, top)),
                box(frame, about(side, 0.01), (y[1] - 0.02, y[1]), (0.02, top)),
            ]
        return bars
    thick, splay = rng.uniform(0.012, 0.024), rng.uniform(0, 0.05)
    round_legs = chance(rng, 0.4)
    legs = []
    for i in (-1, 1):
        for j in (-1, 1):
            px, py = i * (x[1] - 0.03), j * (y[1] - 0.03)
            fx, fy = px + i * splay, py + j * splay
            if round_legs:
                legs.append(bar(frame, (fx, fy, 0.004), (px, py, top), thick))
            else:
                foot, head = (
                    (about(fx, thick), about(fy, thick)),
                    (about(px, thick), about(py, thick)),
                )
                legs.append(taper(frame, foot, head, (0, top)))
    if chance(rng, 0.5):
        rail = (top - 0.06, top)
        legs.append(box(frame, (x[0] + 0.04, x[1] - 0.04), about(y[0] + 0.03, 0.01), rail))
        legs.append(box(frame, (x[0] + 0.04, x[1] - 0.04), about(y[1] - 0.03, 0.01), rail))
    return legs


def _back(
    frame: Material,
    cover: Material,
    x: tuple[float, float],
    rear: float,
    z: tuple[float, float],
    rng: np.random.Generator,
) -> list[Part]:
    """A backrest: slats across, slats upright, a panel, or a cushion; leaning back a little."""
    lean, hinge = -rng.uniform(2, 12), (0.0, rear, z[0])
    style = pick(rng, ("ladder", "slats", "panel", "cushion"))
    parts: list[Part] = []
    if style in ("ladder", "slats"):
        sides = (x[0] + 0.016, x[1] - 0.016)
        parts += [box(frame, about(side, 0.016), (rear - 0.03, rear), z) for side in sides]
        span = (x[0] + 0.03, x[1] - 0.03)
        parts.append(box(frame, span, (rear - 0.025, rear - 0.007), (z[1] - 0.07, z[1] - 0.01)))
        count = int(rng.integers(2, 6))
        for number in range(count):
            share = (number + 0.7) / (count + 0.6)
            if style == "ladder":
                place = z[0] + 0.08 + share * (z[1] - z[0] - 0.16)
                parts.append(box(frame, span, (rear - 0.024, rear - 0.01), about(place, 0.018)))
            else:
                place = span[0] + share * (span[1] - span[0])
                upright = (z[0] + 0.02, z[1] - 0.07)
                parts.append(box(frame, about(place, 0.012), (rear - 0.024, rear - 0.01), upright))
    elif style == "panel":
        low = z[0] + rng.choice([0.0, 0.15])
        parts.append(box(frame, x, (rear - 0.02, rear), (low, z[1])))
        if low > z[0]:
            parts += [
                box(frame, about(s * 0.12, 0.015), (rear - 0.02, rear), (z[0], low))
                for s in (-1, 1)
            ]
    else:
        parts.append(soft_box(cover, x, (rear - 0.06, rear), z, 0.025, puff=0.02))
    return [part.turned("x", lean, hinge) for part in parts]


def _arms(
    frame: Material,
    x: tuple[float, float],
    y: tuple[float, float],
    top: float,
    seat: float,
    rng: np.random.Generator,
) -> list[Part]:
    parts = []
    for side in (x[0] - 0.015, x[1] + 0.015):
        parts.append(box(frame, about(side, 0.02), (y[0] + 0.02, y[1]), (top - 0.025, top)))
        parts.append(
            box(frame, about(side, 0.012), (y[0] + 0.05, y[0] + 0.08), (seat - 0.1, top - 0.025))
        )
    return parts
