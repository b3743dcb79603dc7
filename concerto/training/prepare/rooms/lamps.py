"""Lamps: on the floor, on tables, on walls, hanging, on the ceiling. Most of them shine."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms import textures as made_of
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.colors import Floats, any_color, srgb
from concerto.training.prepare.rooms.items import Item, Light
from concerto.training.prepare.rooms.palette import Palette, chance, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.shapes import ball, bar, box, centered, cylinder, turned_body


def floor_lamp(palette: Palette) -> Item:
    """A shade or a globe on a pole, on three legs or at the end of an arc; or a paper column."""
    rng = palette.rng
    if chance(rng, 0.15):
        return _paper_column(palette)
    if chance(rng, 0.2):
        return _arc_lamp(palette)
    metal, height = palette.metal(), rng.uniform(1.35, 1.8)
    shade, light = _shade(palette, rng.uniform(0.14, 0.26), height, 1.0)
    low = min(float(part.bounds()[0, 2]) for part in shade)
    if chance(rng, 0.3):
        wood, spread = palette.wood(), rng.uniform(0.2, 0.3)
        turns = np.radians([90, 210, 330])
        stand = [
            bar(wood, (spread * np.cos(t), spread * np.sin(t), 0.005), (0, 0, low), 0.013)
            for t in turns
        ]
    else:
        stand = [
            cylinder(metal, rng.uniform(0.12, 0.17), (0, 0.025)),
            cylinder(metal, 0.012, (0.025, low), sides=10),
        ]
    return Item(Kind.LAMP, (*stand, *shade), light=light)


def table_lamp(palette: Palette) -> Item:
    """A shade on a foot, or a desk lamp with an arm."""
    rng = palette.rng
    if chance(rng, 0.3):
        return _desk_lamp(palette)
    height, foot = rng.uniform(0.3, 0.55), rng.uniform(0.05, 0.08)
    shade, light = _shade(palette, rng.uniform(0.09, 0.16), height, 0.5)
    low = min(float(part.bounds()[0, 2]) for part in shade)
    body = pick(rng, (palette.metal(), palette.ceramic(), palette.wood(), palette.paint()))
    style = rng.random()
    if style < 0.4:
        profile = [(0, 0), (foot, 0), (foot, 0.02), (0.012, 0.03), (0.012, low), (0, low)]
    elif style < 0.75:
        wide = foot * rng.uniform(0.9, 1.4)
        heights = np.linspace(0, low, 9)
        profile = [
            (0.015 + wide * np.sin(np.pi * (0.15 + 0.85 * k / 8)) ** 0.7, z)
            for k, z in enumerate(heights)
        ]
        profile = [(0, 0), *profile, (0, low)]
    else:
        profile = [
            (0, 0),
            (foot, 0),
            (foot, low * 0.85),
            (0.012, low * 0.9),
            (0.012, low),
            (0, low),
        ]
    return Item(Kind.LAMP, (turned_body(body, profile), *shade), light=light, rests="top")


def pendant(palette: Palette, ceiling: float) -> Item:
    """A shade on a cord; the frame's origin is at the ceiling."""
    rng = palette.rng
    drop, radius = rng.uniform(0.25, max(0.3, ceiling - 1.75)), rng.uniform(0.1, 0.28)
    shade, light = _shade(palette, radius, 0.0, 1.4, pick(rng, ("cone", "globe", "drum")))
    top = max(float(part.bounds()[1, 2]) for part in shade)
    shift = -drop - top
    cord = cylinder(palette.metal(), 0.006, (-drop, -0.02), sides=8)
    rose = cylinder(palette.metal(), 0.05, (-0.03, 0))
    parts = (cord, rose, *(part.moved(z=shift) for part in shade))
    at = (0.0, 0.0, light.at[2] + shift)
    return Item(Kind.LAMP, parts, light=Light(at, light.radius, light.power), rests="ceiling")


def wall_lamp(palette: Palette) -> Item:
    """A shade or a globe on an arm from a wall, its middle at z = 0."""
    rng = palette.rng
    metal, out = palette.metal(), rng.uniform(0.12, 0.2)
    shade, light = _shade(palette, rng.uniform(0.06, 0.1), 0.1, 0.5)
    parts = [
        box(metal, centered(0.08), (-0.015, 0), centered(0.14)),
        bar(metal, (0, -0.01, 0), (0, -out, 0), 0.009),
        *(part.moved(y=-out) for part in shade),
    ]
    at = (0.0, -out, light.at[2])
    return Item(Kind.LAMP, tuple(parts), light=Light(at, light.radius, light.power), rests="wall")


def chandelier(palette: Palette) -> Item:
    """Globes or small shades around a stem; the frame's origin is at the ceiling."""
    rng = palette.rng
    metal, count, drop = palette.metal(), int(rng.integers(3, 7)), rng.uniform(0.3, 0.6)
    reach, style = rng.uniform(0.18, 0.36), pick(rng, ("cone", "globe"))
    shade, light = _shade(palette, rng.uniform(0.05, 0.09), 0.05, 0.4 * count, style)
    parts = [cylinder(metal, 0.012, (-drop, 0), sides=8), cylinder(metal, 0.05, (-0.03, 0))]
    for turn in np.arange(count) * 360 / count:
        arm = bar(metal, (0, 0, -drop), (reach, 0, -drop), 0.008)
        parts += [
            part.turned("z", turn) for part in (arm, *(p.moved(reach, 0, -drop) for p in shade))
        ]
    whole = Light((0, 0, -drop), reach, light.power)
    return Item(Kind.LAMP, tuple(parts), light=whole, rests="ceiling")


def ceiling_lamp(palette: Palette) -> Item:
    """A dome, a panel, or spots on a rail, below the ceiling (z = 0)."""
    rng = palette.rng
    warm, power = _warmth(rng), rng.uniform(1.5, 3.0)
    glow = Material(made_of.plain(warm, rng, 0.0), glow=rng.uniform(2, 4))
    style = rng.random()
    if style < 0.4:
        radius, deep = rng.uniform(0.15, 0.28), rng.uniform(0.07, 0.14)
        angle = np.linspace(0, np.pi / 2, 8)
        dome = [(radius * np.sin(a), -deep * np.cos(a)) for a in angle]
        parts = [
            turned_body(glow, [*dome, (0, 0)]),
            cylinder(palette.metal(), radius + 0.01, (-0.015, 0)),
        ]
    elif style < 0.75:
        x, y = pick(rng, ((0.3, 0.3), (0.6, 0.15), (0.6, 0.06), (0.3, 0.15)))
        parts = [
            box(palette.paint(), (-x - 0.02, x + 0.02), (-y - 0.02, y + 0.02), (-0.03, 0)),
            box(glow, (-x, x), (-y, y), (-0.045, -0.03)),
        ]
    else:
        metal = palette.metal()
        parts = [box(metal, (-0.6, 0.6), (-0.02, 0.02), (-0.03, 0))]
        for place in (-0.5, -0.15, 0.2, 0.55):
            spot = turned_body(metal, [(0.03, 0), (0.045, -0.1)][::-1]).moved(z=-0.04)
            disc = cylinder(glow, 0.04, (-0.13, -0.125))
            parts += [part.turned("x", 0).moved(x=place) for part in (spot, disc)]
    return Item(
        Kind.LAMP, tuple(parts), light=Light((0, 0, -0.2), 0.15, warm * power), rests="ceiling"
    )


def _paper_column(palette: Palette) -> Item:
    """A shade that stands on the floor."""
    rng = palette.rng
    half, high, warm = rng.uniform(0.1, 0.17), rng.uniform(0.5, 1.4), _warmth(rng)
    lit = chance(rng, 0.7)
    paper = Material(
        made_of.plain(srgb(0.95, 0.92, 0.85), rng, 0.05), glow=rng.uniform(0.6, 1.5) if lit else 0.0
    )
    foot = box(palette.body(), centered(2 * half + 0.02), centered(2 * half + 0.02), (0, 0.04))
    side = cylinder(paper, half, (0.04, high)) if chance(rng, 0.5) else None
    body = side or box(paper, centered(2 * half), centered(2 * half), (0.04, high))
    light = Light((0, 0, high / 2), half, warm * np.float32(0.9 * lit))
    return Item(Kind.LAMP, (foot, body), light=light)


def _arc_lamp(palette: Palette) -> Item:
    """A heavy foot, a bow, and a shade that hangs from its end."""
    rng = palette.rng
    metal, reach, high = palette.metal(), rng.uniform(0.4, 0.7), rng.uniform(1.6, 1.9)
    angle = np.linspace(0, 0.62 * np.pi, 9)
    x = -reach / 2 + reach * (1 - np.cos(angle)) / (1 - np.cos(angle[-1]))
    z = 0.04 + (high - 0.04) * np.sin(angle)
    bow = [
        bar(metal, (float(x[k]), 0, float(z[k])), (float(x[k + 1]), 0, float(z[k + 1])), 0.011)
        for k in range(8)
    ]
    shade, light = _shade(palette, rng.uniform(0.12, 0.2), float(z[-1]), 1.0)
    end = float(x[-1])
    foot = cylinder(pick(rng, (palette.stone(), metal)), 0.16, (0, 0.05), (-reach / 2, 0))
    parts = (foot, *bow, *(part.moved(x=end) for part in shade))
    at = (end, 0.0, light.at[2])
    return Item(Kind.LAMP, parts, light=Light(at, light.radius, light.power))


def _shade(
    palette: Palette, radius: float, top: float, power: float, style: str | None = None
) -> tuple[list[Part], Light]:
    """A lampshade whose upper end is at a height, and its light."""
    rng = palette.rng
    warm, lit = _warmth(rng), chance(rng, 0.75)
    style = style or pick(rng, ("cone", "drum", "globe"))
    color = srgb(0.95, 0.9, 0.8) if chance(rng, 0.5) else any_color(rng, (0.1, 0.8), (0.4, 0.95))
    texture = made_of.weave(color, np.asarray(color * 0.9, np.float32), rng)
    cover = Material(texture, glow=rng.uniform(0.6, 2.0) if lit else 0.0)
    middle = top - radius
    if style == "globe":
        parts = [ball(cover, radius, (0, 0, middle))]
    else:
        high = radius * rng.uniform(0.9, 1.6)
        narrow = radius * (1 if style == "drum" else rng.uniform(0.3, 0.7))
        parts = [turned_body(cover, [(radius, top - high), (narrow, top)], sides=28)]
        parts.append(cylinder(palette.metal(), 0.012, (top - high * 0.6, top - 0.02), sides=8))
        bulb = Material(made_of.plain(warm, rng, 0), glow=5.0 if lit else 0.3)
        parts.append(ball(bulb, 0.03, (0, 0, top - high * 0.6)))
        parts.append(cylinder(palette.metal(), narrow * 0.98, (top - 0.02, top - 0.015)))
        middle = top - high / 2
    strength = power * rng.uniform(0.5, 1.2) if lit else 0.0
    return parts, Light((0, 0, middle), radius * 0.7, warm * np.float32(strength))


def _desk_lamp(palette: Palette) -> Item:
    rng = palette.rng
    metal, warm = palette.metal(), _warmth(rng)
    reach, rise = rng.uniform(0.12, 0.22), rng.uniform(0.28, 0.42)
    head = turned_body(palette.paint(), [(0.075, -0.05), (0.03, 0.04), (0, 0.045)])
    bulb = ball(Material(made_of.plain(warm, rng, 0), glow=4.0), 0.03, (0, 0, -0.02))
    parts = [
        cylinder(metal, 0.075, (0, 0.025)),
        bar(metal, (0, 0, 0.02), (-reach * 0.4, 0, rise * 0.6), 0.008),
        bar(metal, (-reach * 0.4, 0, rise * 0.6), (reach, 0, rise), 0.008),
        *(part.turned("y", 20).moved(x=reach, z=rise - 0.03) for part in (head, bulb)),
    ]
    light = Light((reach, 0, rise - 0.09), 0.05, warm * np.float32(0.25))
    return Item(Kind.LAMP, tuple(parts), light=light, rests="top")


def _warmth(rng: np.random.Generator) -> Floats:
    """The colour of lamp light, from candle to daylight."""
    warm = rng.random()
    return np.asarray(srgb(1, 0.72 + 0.26 * warm, 0.42 + 0.56 * warm), np.float32)
