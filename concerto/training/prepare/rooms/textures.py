"""Patterns of surfaces: wood, cloth, tile, stone, print. Each is a function of the place on it.

Every maker takes colours and a random generator, and returns a `Texture`. Colours are linear. None
belongs to one kind of thing: what a thing is must be told by its shape and its surroundings.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from concerto.training.prepare.rooms.noise import Floats, fractal, noise, scatter, spots
from concerto.training.prepare.rooms.parts import Spots, Texture


def mix(share: NDArray[np.floating], low: Floats, high: Floats) -> Floats:
    """Colours (n, 3) between two, (3,) or (n, 3), by shares (n,) that are cut to 0-1."""
    share = share.clip(0, 1)[:, None]
    return np.asarray(low * (1 - share) + high * share, np.float32)


def _shift(rng: Generator) -> Floats:
    return rng.uniform(0, 64, 3).astype(np.float32)


def plain(color: Floats, rng: Generator, mottle: float = 0.06) -> Texture:
    """One colour, a little uneven: paint, plastic."""
    shift, scale = _shift(rng), np.float32(rng.uniform(2, 8))

    def texture(at: Spots) -> Floats:
        uneven = noise(at.place * scale + shift) - 0.5
        return np.asarray(color * (1 + 2 * mottle * uneven[:, None]), np.float32)

    return texture


def wood(light: Floats, dark: Floats, rng: Generator) -> Texture:
    """Grain along the longest side of a piece, and fine pores."""
    shift, rings, wave = _shift(rng), rng.uniform(8, 40), rng.uniform(0.5, 2.5)
    stretch = np.array([rng.uniform(0.5, 2), 6, 6], np.float32)
    contrast = rng.uniform(0.3, 1.0)

    def texture(at: Spots) -> Floats:
        bent = noise(at.place * stretch * np.float32(0.4) + shift)
        across = at.place[:, 1] + 0.6 * at.place[:, 2] + shift[0]
        phase = across * rings + wave * 6 * bent
        grain = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
        pores = noise(at.place * np.array([9, 260, 260], np.float32) + shift)
        broad = noise(at.place * stretch + shift)
        return mix(contrast * (0.45 * grain + 0.25 * pores) + 0.45 * broad, light, dark)

    return texture


def planks(board: Texture, rng: Generator) -> Texture:
    """Boards of a floor, laid in rows, each a piece of its own."""
    width, length = rng.uniform(0.07, 0.2), rng.uniform(0.6, 1.8)
    across = bool(rng.random() < 0.5)

    def texture(at: Spots) -> Floats:
        along, row = (at.flat[:, 1], at.flat[:, 0]) if across else (at.flat[:, 0], at.flat[:, 1])
        row_cell = np.floor(row / width)
        start = along / length + 0.37 * row_cell % 1
        cell = np.stack([np.floor(start), row_cell], 1).astype(np.int64)
        values = scatter(cell)
        place = np.stack([along, row, np.zeros_like(row)], 1) + 40 * values[:, :3]
        color = board(Spots(place.astype(np.float32), at.flat)) * (0.75 + 0.5 * values[:, 3:])
        gap = np.minimum(_to_edge(row / width) * width, _to_edge(start) * length) < 0.0015
        color[gap] *= 0.35
        return np.asarray(color, np.float32)

    return texture


def parquet(board: Texture, rng: Generator) -> Texture:
    """Squares of short boards that lie along and across by turns."""
    side, boards = rng.uniform(0.25, 0.5), int(rng.integers(4, 8))

    def texture(at: Spots) -> Floats:
        square = np.floor(at.flat / side)
        turned = (square.sum(1) % 2).astype(bool)
        along = np.where(turned, at.flat[:, 1], at.flat[:, 0])
        row = np.where(turned, at.flat[:, 0], at.flat[:, 1]) / side * boards
        cell = np.stack([square[:, 0] * 97 + np.floor(row), square[:, 1]], 1).astype(np.int64)
        values = scatter(cell)
        place = np.stack([along, row * side / boards, 0 * row], 1) + 40 * values[:, :3]
        color = board(Spots(place.astype(np.float32), at.flat)) * (0.75 + 0.5 * values[:, 3:])
        color[_to_edge(row) < 0.03] *= 0.5
        return np.asarray(color, np.float32)

    return texture


def tiles(color: Floats, joint: Floats, rng: Generator, side: float | None = None) -> Texture:
    """Tiles with joints, some or none of a second tone, in a grid or a running bond."""
    width = side or rng.uniform(0.08, 0.45)
    height = width * (1 if rng.random() < 0.6 else rng.uniform(0.35, 0.6))
    bond = 0.5 if height < width and rng.random() < 0.7 else 0.0
    checker = rng.random() < 0.2
    second = np.asarray(color * rng.uniform(0.15, 0.6), np.float32)
    uneven, gap, shift = rng.uniform(0, 0.25), rng.uniform(0.002, 0.006), _shift(rng)

    def texture(at: Spots) -> Floats:
        row = np.floor(at.flat[:, 1] / height)
        x, y = at.flat[:, 0] / width + bond * (row % 2), at.flat[:, 1] / height
        cell = np.stack([np.floor(x), row], 1).astype(np.int64)
        tone = (
            1
            + uneven * (scatter(cell)[:, 2:3] - 0.5)
            + 0.1 * (noise(at.place * 12 + shift)[:, None] - 0.5)
        )
        base = color
        if checker:
            base = np.where((cell.sum(1) % 2 == 0)[:, None], color, second)
        shown = base * tone
        edge = np.minimum(_to_edge(x) * width, _to_edge(y) * height) < gap
        shown[edge] = joint
        return np.asarray(shown, np.float32)

    return texture


def bricks(color: Floats, joint: Floats, rng: Generator) -> Texture:
    """A wall of rough bricks."""
    shift = _shift(rng)

    def texture(at: Spots) -> Floats:
        row = np.floor(at.flat[:, 1] / 0.075)
        x = at.flat[:, 0] / 0.24 + 0.5 * (row % 2)
        cell = np.stack([np.floor(x), row], 1).astype(np.int64)
        rough = fractal(at.place * 40 + shift)[:, None]
        shown = color * (0.6 + 0.6 * scatter(cell)[:, 2:3]) * (0.7 + 0.6 * rough)
        edge = np.minimum(_to_edge(x) * 0.24, _to_edge(at.flat[:, 1] / 0.075) * 0.075) < 0.006
        shown[edge] = joint * (0.8 + 0.4 * rough[edge])
        return np.asarray(shown, np.float32)

    return texture


def marble(ground: Floats, vein: Floats, rng: Generator) -> Texture:
    """Stone with veins."""
    shift, scale, sharp = _shift(rng), np.float32(rng.uniform(1.5, 5)), rng.uniform(3, 10)

    def texture(at: Spots) -> Floats:
        bent = fractal(at.place * scale + shift, 4)
        line = 1 - np.abs(np.sin(2 * np.pi * (2 * bent + at.place[:, 0] * scale * 0.3)))
        return mix(line**sharp * 0.8 + 0.15 * bent, ground, vein)

    return texture


def speckle(ground: Floats, chips: Floats, rng: Generator) -> Texture:
    """Terrazzo, granite, cork: chips of several tones."""
    scale, share = np.float32(rng.uniform(25, 120)), rng.uniform(0.25, 0.45)

    def texture(at: Spots) -> Floats:
        distance, values = spots(at.flat * scale)
        chip = distance < share * (0.5 + values[:, 3])
        tone = mix(values[:, 2], chips, ground * 0.5)
        return np.where(chip[:, None], tone, ground).astype(np.float32)

    return texture


def rough(low: Floats, high: Floats, rng: Generator, size: float = 0.3) -> Texture:
    """Clouds of two tones: concrete, plaster, suede, rust. size: metres."""
    shift = _shift(rng)

    def texture(at: Spots) -> Floats:
        return mix(1.6 * fractal(at.place / np.float32(size) + shift, 4) - 0.3, low, high)

    return texture


def weave(warp: Floats, weft: Floats, rng: Generator) -> Texture:
    """Coarse cloth: threads of two colours."""
    threads, shift = rng.uniform(150, 500), _shift(rng)

    def texture(at: Spots) -> Floats:
        thread = np.sin(2 * np.pi * at.flat * np.float32(threads) / 2)
        worn = noise(at.place * 5 + shift)
        fleck = noise(at.place * 220 + shift)
        share = 0.5 + 0.3 * thread[:, 0] * thread[:, 1] + 0.9 * (fleck - 0.5)
        return np.asarray(mix(share, warp, weft) * (0.85 + 0.3 * worn[:, None]), np.float32)

    return texture


def carpet(color: Floats, other: Floats, rng: Generator) -> Texture:
    """Pile: fine grain and trodden patches."""
    shift, scale = _shift(rng), np.float32(rng.uniform(60, 250))

    def texture(at: Spots) -> Floats:
        fine, broad = noise(at.place * scale + shift), fractal(at.place * 2.5 + shift, 2)
        return mix(0.8 * fine + 0.6 * (broad - 0.5), color, other)

    return texture


def stripes(one: Floats, two: Floats, rng: Generator, width: float | None = None) -> Texture:
    """Stripes of two widths."""
    period = 2 * (width or np.exp(rng.uniform(np.log(0.01), np.log(0.12))))
    share, axis = rng.uniform(0.2, 0.8), int(rng.integers(2))

    def texture(at: Spots) -> Floats:
        band = (at.flat[:, axis] / period) % 1 < share
        fine = 0.9 + 0.2 * noise(at.place * 90)[:, None]
        return np.asarray(np.where(band[:, None], one, two) * fine, np.float32)

    return texture


def plaid(one: Floats, two: Floats, rng: Generator) -> Texture:
    """Crossing bands, as of a blanket."""
    period = rng.uniform(0.05, 0.25)
    thin = rng.uniform(0.05, 0.12)

    def texture(at: Spots) -> Floats:
        x, y = (at.flat / np.float32(period) % 1).T
        broad = ((x < 0.5).astype(np.float32) + (y < 0.5)) / 2
        color = mix(broad, one, two)
        line = (np.abs(x - 0.25) < thin / 2) | (np.abs(y - 0.25) < thin / 2)
        color[line] = 0.5 * color[line] + 0.35
        return color

    return texture


def dots(ground: Floats, dot: Floats, rng: Generator) -> Texture:
    """Dots in rows."""
    period, size = rng.uniform(0.03, 0.12), rng.uniform(0.15, 0.35)

    def texture(at: Spots) -> Floats:
        row = np.floor(at.flat[:, 1] / period)
        x = at.flat[:, 0] / period + 0.5 * (row % 2)
        off = np.stack([x % 1, at.flat[:, 1] / period % 1], 1) - 0.5
        return np.where(((off**2).sum(1) < size**2)[:, None], dot, ground).astype(np.float32)

    return texture


def flowers(ground: Floats, petal: Floats, leaf: Floats, rng: Generator) -> Texture:
    """A print of scattered blossoms."""
    scale, petals = np.float32(1 / rng.uniform(0.05, 0.2)), int(rng.integers(4, 8))

    def texture(at: Spots) -> Floats:
        _, values = spots(at.flat * scale)
        offset = at.flat * scale - np.floor(at.flat * scale) - (0.25 + 0.5 * values[:, :2])
        angle = np.arctan2(offset[:, 1], offset[:, 0]) + 6 * values[:, 2]
        radius = np.sqrt((offset**2).sum(1))
        bloom = radius < 0.16 * (1.2 + values[:, 3]) * (0.75 + 0.25 * np.cos(petals * angle))
        color = np.where(bloom[:, None], petal, ground)
        color[radius < 0.06] = leaf
        twig = (np.abs(np.sin(9 * angle)) > 0.93) & (radius < 0.4) & ~bloom
        color[twig] = leaf
        return np.asarray(color, np.float32)

    return texture


def damask(one: Floats, two: Floats, rng: Generator) -> Texture:
    """A wallpaper's repeated, mirrored ornament."""
    period, shift = rng.uniform(0.15, 0.5), _shift(rng)
    level, scale = rng.uniform(0.42, 0.55), rng.uniform(2.5, 5)

    def texture(at: Spots) -> Floats:
        row = np.floor(at.flat[:, 1] / period)
        x = np.abs((at.flat[:, 0] / period + 0.5 * (row % 2)) % 1 - 0.5)
        y = at.flat[:, 1] / period % 1
        y = np.minimum(y, 1 - y)
        motif = fractal((np.stack([x, y, 0 * x], 1) * scale + shift).astype(np.float32), 2)
        return mix((motif - level) * 18 + 0.5, one, two)

    return texture


def brushed(color: Floats, rng: Generator) -> Texture:
    """Metal with fine lines along the piece."""
    shift = _shift(rng)

    def texture(at: Spots) -> Floats:
        line = noise(at.place * np.array([4, 400, 400], np.float32) + shift)[:, None]
        return np.asarray(color * (0.8 + 0.4 * line), np.float32)

    return texture


def _to_edge(place: NDArray[np.floating]) -> NDArray[np.floating]:
    """How far places are from the next whole number."""
    share = place % 1
    return np.asarray(np.minimum(share, 1 - share))
