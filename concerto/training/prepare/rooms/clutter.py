"""Small things, as they lie about: cups, bottles, bowls, papers, balls, baskets, keyboards."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms import textures as made_of
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.colors import any_color, srgb
from concerto.training.prepare.rooms.items import Item
from concerto.training.prepare.rooms.palette import Palette, chance, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.prints import label
from concerto.training.prepare.rooms.shapes import ball, bar, box, soft_box, turned_body


def clutter(palette: Palette, clear: float = 0.5) -> Item:
    """A cup, a bottle, a bowl, a vase, a toy, papers … no higher than `clear` metres."""
    makers = (_cup, _vessel, _vessel, _bowl, _packet, _papers, _ball, _basket, _keyboard, _plates)
    made = pick(palette.rng, makers)(palette)
    if float(made.high[2]) > clear:
        made = _papers(palette)
    return made


def _cup(palette: Palette) -> Item:
    rng = palette.rng
    radius, height = rng.uniform(0.03, 0.045), rng.uniform(0.07, 0.12)
    glaze = _any_solid(palette)
    profile = [
        (0, 0),
        (radius * rng.uniform(0.7, 1), 0),
        (radius, height),
        (radius * 0.9, height),
        (radius * 0.85, 0.01),
        (0, 0.01),
    ]
    parts = [turned_body(glaze, profile)]
    if chance(rng, 0.6):
        parts += [
            bar(glaze, (radius * 0.9, 0, z * height), (radius + 0.025, 0, z * height), 0.005, 6)
            for z in (0.25, 0.75)
        ]
        parts.append(
            bar(
                glaze,
                (radius + 0.025, 0, 0.25 * height),
                (radius + 0.025, 0, 0.75 * height),
                0.005,
                6,
            )
        )
    return _on_top(parts)


def _vessel(palette: Palette) -> Item:
    """A bottle, a jar or a vase: any turned body."""
    rng = palette.rng
    height, radius = rng.uniform(0.12, 0.38), rng.uniform(0.025, 0.09)
    levels = np.linspace(0, 1, 10)
    shape = 0.65 + 0.35 * np.sin(levels * rng.uniform(2, 6) + rng.uniform(0, 6))
    neck = rng.uniform(0.25, 1.0)
    shape *= 1 - (1 - neck) * ((levels - 0.65).clip(0) / 0.35) ** 0.6
    glaze = _any_solid(palette)
    if chance(rng, 0.3):
        glaze = Material(label(any_color(rng), rng), upright=True)
    profile = [(0, 0), *zip(radius * shape, height * levels, strict=True), (0, height)]
    return _on_top([turned_body(glaze, profile)])


def _bowl(palette: Palette) -> Item:
    rng = palette.rng
    radius, height = rng.uniform(0.07, 0.16), rng.uniform(0.04, 0.09)
    angle = np.linspace(0.3, 1, 6) * np.pi / 2
    outer = [(radius * np.sin(a), height * (1 - np.cos(a))) for a in angle]
    inner = [(r * 0.92, z + 0.004) for r, z in outer[::-1]]
    low = outer[0][1]
    profile = [(r, z - low) for r, z in [(0, low), *outer, *inner, (0, inner[-1][1])]]
    parts = [turned_body(_any_solid(palette), profile, sides=28)]
    if chance(rng, 0.5):
        fruit = Material(
            made_of.rough(
                any_color(rng, (0.5, 0.9), (0.5, 0.95)),
                any_color(rng, (0.5, 0.9), (0.4, 0.9)),
                rng,
                0.1,
            )
        )
        size = radius * 0.3
        for turn in np.arange(0, 2 * np.pi, 2 * np.pi / 4):
            at = (radius * 0.4 * np.cos(turn), radius * 0.4 * np.sin(turn), height * 0.5 + size)
            parts.append(ball(fruit, size, at))
    return _on_top(parts)


def _packet(palette: Palette) -> Item:
    rng = palette.rng
    size = rng.uniform((0.04, 0.04, 0.06), (0.2, 0.14, 0.28)) / 2
    paper = (
        Material(label(any_color(rng), rng), upright=True) if chance(rng, 0.6) else palette.paint()
    )
    return _on_top([box(paper, (-size[0], size[0]), (-size[1], size[1]), (0, 2 * size[2]))])


def _papers(palette: Palette) -> Item:
    rng = palette.rng
    parts, z = [], 0.0
    for _ in range(int(rng.integers(1, 4))):
        paper = Material(label(srgb(0.92, 0.92, 0.9), rng)) if chance(rng, 0.5) else palette.paint()
        thick = rng.uniform(0.002, 0.012)
        part = box(paper, (-0.105, 0.105), (-0.1485, 0.1485), (z, z + thick))
        parts.append(part.turned("z", rng.uniform(-25, 25)))
        z += thick
    return _on_top(parts)


def _ball(palette: Palette) -> Item:
    radius = palette.rng.uniform(0.035, 0.11)
    return _on_top([ball(_any_solid(palette), radius, (0, 0, radius))])


def _basket(palette: Palette) -> Item:
    rng = palette.rng
    radius, height = rng.uniform(0.08, 0.16), rng.uniform(0.1, 0.28)
    wall = pick(rng, (palette.cloth(), palette.wood(), palette.metal()))
    profile = [
        (0, 0),
        (radius * 0.85, 0),
        (radius, height),
        (radius * 0.94, height),
        (radius * 0.8, 0.012),
        (0, 0.012),
    ]
    return _on_top([turned_body(wall, profile)])


def _keyboard(palette: Palette) -> Item:
    rng = palette.rng
    case = palette.paint()
    keys = Material(
        made_of.tiles(
            any_color(rng, (0, 0.1), (0.05, 0.9)), any_color(rng, (0, 0.1), (0.05, 0.5)), rng, 0.019
        )
    )
    half = rng.uniform(0.14, 0.22)
    parts = [
        box(case, (-half, half), (-0.065, 0.065), (0, 0.018)),
        box(keys, (-half + 0.01, half - 0.01), (-0.055, 0.055), (0.018, 0.024)),
        soft_box(case, (half + 0.04, half + 0.1), (-0.05, 0.05), (0, 0.035), 0.015),
    ]
    return _on_top(parts)


def _plates(palette: Palette) -> Item:
    rng = palette.rng
    glaze, radius, z, parts = _any_solid(palette), rng.uniform(0.08, 0.14), 0.0, []
    for _ in range(int(rng.integers(1, 5))):
        profile = [
            (0, z),
            (radius * 0.6, z),
            (radius, z + 0.018),
            (radius * 0.98, z + 0.021),
            (radius * 0.6, z + 0.006),
            (0, z + 0.006),
        ]
        parts.append(turned_body(glaze, profile, sides=28))
        z += 0.0065
    return _on_top(parts)


def _any_solid(palette: Palette) -> Material:
    return pick(
        palette.rng, (palette.ceramic, palette.paint, palette.metal, palette.wood, palette.stone)
    )()


def _on_top(parts: list[Part]) -> Item:
    return Item(Kind.CLUTTER, tuple(parts), rests="top")
