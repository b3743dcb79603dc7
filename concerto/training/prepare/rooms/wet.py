"""What has water or heat: sinks, toilets, baths, stoves, fridges, and a kitchen's row of them."""

from __future__ import annotations

import numpy as np

from concerto.training.prepare.rooms import textures as made_of
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.colors import grey
from concerto.training.prepare.rooms.items import Item, Top
from concerto.training.prepare.rooms.palette import Palette, chance, lacquer, pick
from concerto.training.prepare.rooms.parts import Material, Part
from concerto.training.prepare.rooms.shapes import bar, box, cylinder, soft_box, turned_body
from concerto.training.prepare.rooms.storage import front_body


def wash_basin(palette: Palette) -> list[Item]:
    """A sink on a column, or in the top of a cabinet."""
    rng = palette.rng
    glaze, width, depth = palette.ceramic(), rng.uniform(0.45, 0.8), rng.uniform(0.4, 0.5)
    height = rng.uniform(0.8, 0.9)
    tap = _tap(palette.metal(), depth / 2 - 0.05, height)
    deep = rng.uniform(0.1, 0.16)
    basin = _basin(glaze, width, depth, height, deep, rng.uniform(0.03, 0.05))
    if chance(rng, 0.4):
        column = turned_body(
            glaze, [(0, 0), (0.12, 0), (0.09, 0.3), (0.11, height - deep), (0, height - deep)]
        )
        return [Item(Kind.SINK, (*basin, *tap, column.moved(y=0.05)))]
    low = height - deep
    body = front_body(
        palette,
        palette.body(),
        palette.body(),
        [width - 0.02, depth - 0.02, low],
        0.08,
        "sideboard",
    )
    return [Item(Kind.CABINET, tuple(body)), Item(Kind.SINK, (*basin, *tap), rests="top")]


def toilet(palette: Palette) -> Item:
    """A bowl with a lid and a cistern."""
    rng = palette.rng
    glaze, rim = palette.ceramic(), rng.uniform(0.36, 0.42)
    lid = glaze if chance(rng, 0.6) else pick(rng, (palette.wood(), palette.paint()))
    wide = rng.uniform(0.17, 0.2)
    profile = [
        (0, 0),
        (wide * 0.6, 0),
        (wide * 0.5, rim * 0.4),
        (wide, rim - 0.02),
        (wide, rim),
        (0, rim),
    ]
    bowl = turned_body(glaze, profile, sides=28)
    stretched = Part(bowl.vertex * [1, 1.25, 1], bowl.normal, bowl.place, bowl.face, glaze).moved(
        y=-0.1
    )
    parts = [
        stretched,
        soft_box(glaze, (-wide * 0.55, wide * 0.55), (0.0, 0.2), (0, rim - 0.06), 0.03),
    ]
    cover = cylinder(lid, wide, (0, 0.03), sides=28)
    cover = Part(cover.vertex * [1, 1.25, 1], cover.normal, cover.place, cover.face, lid)
    if chance(rng, 0.3):
        parts.append(cover.turned("x", 97).moved(y=0.12, z=rim + 1.25 * wide))
    else:
        parts.append(cover.moved(y=-0.1, z=rim))
    high = rim + rng.uniform(0.3, 0.45)
    parts.append(soft_box(glaze, (-0.2, 0.2), (0.16, 0.33), (rim - 0.04, high), 0.03))
    parts.append(cylinder(palette.metal(), 0.02, (high, high + 0.01), (0, 0.24)))
    return Item(Kind.TOILET, tuple(parts))


def bathtub(palette: Palette) -> Item:
    """A tub, walled in or standing free."""
    rng = palette.rng
    glaze = palette.ceramic()
    length, width, height = rng.uniform(1.4, 1.8), rng.uniform(0.68, 0.82), rng.uniform(0.48, 0.62)
    outer = (
        Material(made_of.tiles(grey(rng, (0.3, 0.95)), grey(rng), rng))
        if chance(rng, 0.35)
        else glaze
    )
    rim, soft = rng.uniform(0.04, 0.09), pick(rng, (0.02, 0.15))
    x, y = (-length / 2, length / 2), (-width / 2, width / 2)
    parts = _tray(glaze, x, y, 0.14, height, rim)
    parts.append(
        soft_box(outer, (x[0] + 0.01, x[1] - 0.01), (y[0] + 0.01, y[1] - 0.01), (0, 0.14), soft)
    )
    for s in (-1, 1):
        parts.append(
            box(outer, x, (s * width / 2 - 0.01, s * width / 2 + 0.01), (0, height - 0.03))
        )
        parts.append(
            box(outer, (s * length / 2 - 0.01, s * length / 2 + 0.01), y, (0, height - 0.03))
        )
    metal = palette.metal()
    end = x[1] - rim / 2
    parts += [part.turned("z", 90).moved(x=end) for part in _tap(metal, 0.0, height)]
    return Item(Kind.BATHTUB, tuple(parts))


def stove(palette: Palette, depth: float, height: float) -> Item:
    """A stove with an oven and a hob, 60 cm wide; its front is 2 cm before the cabinets'."""
    rng = palette.rng
    case = palette.metal() if chance(rng, 0.5) else lacquer(rng)
    glass = Material(made_of.plain(grey(rng, (0.02, 0.15)), rng), gloss=0.6, holes=0.3)
    x, y = (-0.298, 0.298), (-depth / 2, depth / 2)
    parts = [box(case, x, (y[0] + 0.02, y[1]), (0, height - 0.01))]
    parts.append(box(case, x, (y[0], y[0] + 0.02), (0.2, height - 0.15)))
    parts.append(box(glass, (-0.22, 0.22), (y[0] - 0.003, y[0]), (0.28, height - 0.28)))
    parts.append(
        box(
            palette.metal(),
            (-0.24, 0.24),
            (y[0] - 0.04, y[0] - 0.02),
            (height - 0.22, height - 0.2),
        )
    )
    parts.append(box(case, x, (y[0], y[0] + 0.02), (0.04, 0.19)))
    for place in np.linspace(-0.22, 0.22, int(rng.integers(4, 7))):
        knob = cylinder(palette.paint(), 0.02, (0, 0.025), sides=12)
        parts.append(knob.turned("x", 90).moved(x=place, y=y[0] + 0.02, z=height - 0.07))
    parts.append(box(glass, x, (y[0] + 0.02, y[1]), (height - 0.01, height)))
    for i in (-1, 1):
        for j in (-1, 1):
            ring = cylinder(
                palette.metal(),
                rng.choice([0.07, 0.09]),
                (height, height + 0.008),
                (i * 0.14, j * 0.13 + 0.02),
            )
            parts.append(ring)
    return Item(
        Kind.STOVE, tuple(parts), tops=(Top((-0.2, 0.2), (-0.15, 0.2), height + 0.009, 0.4),)
    )


def fridge(palette: Palette) -> Item:
    """A fridge of one or two doors."""
    rng = palette.rng
    case = palette.metal() if chance(rng, 0.35) else lacquer(rng)
    width, depth, height = rng.uniform(0.55, 0.75), rng.uniform(0.58, 0.7), rng.uniform(1.3, 1.95)
    x, y = (-width / 2, width / 2), (-depth / 2, depth / 2)
    parts = [
        box(case, x, (y[0] + 0.07, y[1]), (0.02, height)),
        box(palette.paint(), x, (y[0] + 0.1, y[1]), (0, 0.02)),
    ]
    split = height * rng.uniform(0.3, 0.7)
    for low, high in ((0.05, split - 0.004), (split + 0.004, height)):
        parts.append(soft_box(case, x, (y[0] + 0.005, y[0] + 0.065), (low, high), 0.015))
        grip = (low + 0.55 * (high - low), low + 0.9 * (high - low))
        if split > height / 2 and high < height:
            grip = (low + 0.6 * (high - low), high - 0.05)
        parts.append(
            box(palette.metal(), (x[1] - 0.06, x[1] - 0.04), (y[0] - 0.03, y[0] + 0.008), grip)
        )
    return Item(Kind.FRIDGE, tuple(parts))


def counter(
    palette: Palette, widths: list[float], sink: int, depth: float, height: float
) -> list[list[Item]]:
    """The cabinets of a kitchen, by column, of given widths, with a worktop; one holds the sink."""
    rng = palette.rng
    body, front, board = (
        palette.body(),
        palette.body(),
        pick(rng, (palette.stone(), palette.body())),
    )
    thick, deep = rng.uniform(0.025, 0.05), 0.18
    columns = []
    for number, width in enumerate(widths):
        x, y, under = (-width / 2, width / 2), (-depth / 2 - 0.02, depth / 2), height - thick
        if number != sink:
            parts = front_body(palette, body, front, [width, depth, under], 0.08, "sideboard")
            parts.append(box(board, x, y, (under, height)))
            top = Top((x[0] + 0.02, x[1] - 0.02), (y[0] + 0.03, y[1] - 0.02), height, 0.45)
            columns.append([Item(Kind.CABINET, tuple(parts), tops=(top,))])
            continue
        parts = front_body(palette, body, front, [width, depth, height - deep], 0.08, "sideboard")
        half, back, fore = min(width / 2 - 0.06, 0.25), depth / 2 - 0.12, -depth / 2 + 0.08
        parts += [
            box(board, (x[0], -half), y, (under, height)),
            box(board, (half, x[1]), y, (under, height)),
            box(board, (-half, half), (y[0], fore), (under, height)),
            box(board, (-half, half), (back, y[1]), (under, height)),
            box(front, x, (-depth / 2 + 0.017, -depth / 2 + 0.035), (height - deep, under)),
        ]
        steel = palette.metal() if chance(rng, 0.6) else palette.ceramic()
        basin = _tray(
            steel,
            (-half + 0.002, half - 0.002),
            (fore + 0.002, back - 0.002),
            height - deep,
            height + 0.004,
            0.012,
        )
        tap = _tap(palette.metal(), back + 0.05, height)
        columns.append(
            [Item(Kind.CABINET, tuple(parts)), Item(Kind.SINK, (*basin, *tap), rests="top")]
        )
    return columns


def _basin(
    glaze: Material, width: float, depth: float, height: float, deep: float, rim: float
) -> list[Part]:
    """A wash basin: a tray within a rounded rim."""
    x, y = (-width / 2, width / 2), (-depth / 2, depth / 2)
    edge = y[1] - 0.08
    tray = _tray(glaze, x, (y[0], edge), height - deep, height, rim)
    return [*tray, box(glaze, x, (edge, y[1]), (height - deep, height))]


def _tray(
    glaze: Material,
    x: tuple[float, float],
    y: tuple[float, float],
    low: float,
    high: float,
    rim: float,
) -> list[Part]:
    """A floor and four walls."""
    return [
        box(glaze, x, y, (low, low + 0.02)),
        soft_box(glaze, (x[0], x[0] + rim), y, (low, high), 0.012),
        soft_box(glaze, (x[1] - rim, x[1]), y, (low, high), 0.012),
        soft_box(glaze, (x[0] + rim / 2, x[1] - rim / 2), (y[0], y[0] + rim), (low, high), 0.012),
        soft_box(glaze, (x[0] + rim / 2, x[1] - rim / 2), (y[1] - rim, y[1]), (low, high), 0.012),
    ]


def _tap(metal: Material, y: float, low: float) -> list[Part]:
    """A tap whose spout reaches to the front."""
    return [
        cylinder(metal, 0.02, (low, low + 0.13), (0, y), sides=12),
        bar(metal, (0, y, low + 0.12), (0, y - 0.14, low + 0.15), 0.012),
        bar(metal, (0, y - 0.14, low + 0.15), (0, y - 0.145, low + 0.11), 0.012),
        bar(metal, (0, y, low + 0.13), (0.05, y, low + 0.17), 0.007),
    ]
