"""What is printed or shown on flat things: paintings, screens, covers, the view from a window.

These textures know the thing they are on: their place is measured from its middle and its size is
given, in metres. They take x and z, as of a thing that faces -y.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from concerto.training.prepare.rooms.colors import any_color, srgb
from concerto.training.prepare.rooms.noise import Floats, fractal, noise, scatter, spots
from concerto.training.prepare.rooms.parts import Spots, Texture
from concerto.training.prepare.rooms.textures import mix

Size = tuple[float, float]
# Colours (n, 3) by shares (n,) of the width, from the left, and of the height, from below.
Drawing = Callable[[Floats, Floats], Floats]


def painting(size: Size, rng: Generator) -> Texture:
    """A landscape, shapes, a portrait, a poster or strokes, about the origin."""
    makers = (_landscape, _shapes, _portrait, _poster, _strokes)
    drawn = makers[int(rng.integers(len(makers)))](rng)
    margin = rng.uniform(0.05, 0.2) if rng.random() < 0.4 else 0.0
    mount = srgb(0.93, 0.92, 0.88)

    def texture(at: Spots) -> Floats:
        u, v = at.place[:, 0] / size[0] + 0.5, at.place[:, 2] / size[1] + 0.5
        color = drawn(u, v)
        if margin:
            edge = np.minimum(np.minimum(u, 1 - u) * size[0], np.minimum(v, 1 - v) * size[1])
            color[edge < margin * min(size)] = mount
        return color

    return texture


def screen(size: Size, rng: Generator) -> Texture:
    """What a screen shows: windows with lines of text, a film, or nothing."""
    mode = rng.random()
    if mode < 0.4:
        dark = srgb(*rng.uniform(0.02, 0.1, 3))
        return lambda at: np.broadcast_to(dark, (len(at.place), 3)).astype(np.float32)
    drawn = _landscape(rng) if mode < 0.6 else _windows(rng)

    def texture(at: Spots) -> Floats:
        return drawn(at.place[:, 0] / size[0] + 0.5, at.place[:, 2] / size[1] + 0.5)

    return texture


def outside(size: Size, rng: Generator) -> Texture:
    """Sky over houses or trees, out of focus."""
    sky = srgb(0.75, 0.85, 0.98)
    ground = srgb(*(rng.uniform(0.2, 0.5) * rng.uniform((0.8, 0.9, 0.4), (1.3, 1.4, 1.0))))
    horizon, shift = rng.uniform(0.1, 0.6), rng.uniform(0, 64, 3).astype(np.float32)

    def texture(at: Spots) -> Floats:
        v = at.place[:, 2] / size[1] + 0.5
        line = horizon + 0.3 * (noise(at.place * 3 + shift) - 0.5)
        patches = fractal(at.place * 8 + shift)[:, None]
        return mix((v - line) * 8 + 0.5, ground * (0.5 + patches), sky)

    return texture


def label(ground: Floats, rng: Generator) -> Texture:
    """A thing with a printed label around its middle: a jar, a packet, a book's cover."""
    paper, ink = any_color(rng, (0.1, 0.8), (0.5, 1)), any_color(rng, (0, 0.9), (0.05, 0.5))
    lines = rng.uniform(140, 260)

    def texture(at: Spots) -> Floats:
        z = at.place[:, 2]
        row = np.floor(z * lines)
        word = scatter(
            np.stack([np.floor(at.place[:, 0] * 300 + at.place[:, 1] * 300), row], 1).astype(
                np.int64
            )
        )
        text = (z * lines % 1 < 0.5) & (word[:, 0] < 0.6)
        inside = noise(np.stack([0 * z, 0 * z, z * 14], 1) + np.float32(lines)) > 0.5
        color = np.where((inside & text)[:, None], ink, paper)
        return np.where(inside[:, None], color, ground).astype(np.float32)

    return texture


def spines(rng: Generator, lying: bool = False) -> Texture:
    """The back of a book that stands, or lies: bands, and a title along its middle, which is where
    the other two axes are 0."""
    along, across = (0, 2) if lying else (2, 0)
    ground = any_color(rng, (0, 0.9), (0.1, 0.95))
    ink = srgb(0.75, 0.7, 0.6) if ground.mean() < 0.2 else np.asarray(ground * 0.4, np.float32)
    band, letter = rng.uniform(0.02, 0.05), rng.uniform(0.002, 0.004)
    low, bands = rng.uniform(0.03, 0.09), rng.random() < 0.5
    high = low + rng.uniform(0.05, 0.11)
    start = 0.1 if lying else 0.0

    def texture(at: Spots) -> Floats:
        z, side = at.place[:, along] + np.float32(start), at.place[:, across]
        grain = 0.9 + 0.2 * noise(at.place * 80)[:, None]
        cell = np.stack([np.floor(z / letter), np.floor(side / letter)], 1).astype(np.int64)
        title = (z > low) & (z < high) & (np.abs(side) < 1.5 * letter)
        marks = title & (scatter(cell)[:, 0] < 0.55)
        if bands:
            marks |= np.abs(z - band) < 0.003
        return np.asarray(np.where(marks[:, None], ink, ground * grain), np.float32)

    return texture


def _landscape(rng: Generator) -> Drawing:
    sky = any_color(rng, (0.1, 0.6), (0.6, 1))
    haze = any_color(rng, (0.05, 0.5), (0.7, 1))
    land = [any_color(rng, (0.2, 0.8), (0.1, 0.7)) for _ in range(3)]
    levels, shift = np.sort(rng.uniform(0.15, 0.75, 3))[::-1], rng.uniform(0, 60, 3)
    sun = rng.uniform(0.2, 0.9, 2)

    def draw(u: Floats, v: Floats) -> Floats:
        color = mix(v, haze, sky)
        color[(u - sun[0]) ** 2 + (v - sun[1]) ** 2 < 0.004] = 0.95
        for level, tone, offset in zip(levels, land, shift, strict=True):
            place = np.stack([4 * u + offset, 0 * u, 0 * u], 1).astype(np.float32)
            ridge = level + 0.35 * (fractal(place, 4) - 0.5)
            detail = 0.7 + 0.6 * noise(np.stack([30 * u, 40 * v, 0 * u], 1).astype(np.float32))
            color = np.where((v < ridge)[:, None], tone * detail[:, None], color)
        return np.asarray(color, np.float32)

    return draw


def _shapes(rng: Generator) -> Drawing:
    ground = any_color(rng, (0, 0.5), (0.4, 1))
    marks = [
        (rng.uniform(0, 1, 2), rng.uniform(0.08, 0.3, 2), rng.random() < 0.5, any_color(rng))
        for _ in range(int(rng.integers(3, 9)))
    ]

    def draw(u: Floats, v: Floats) -> Floats:
        color = np.tile(ground, (len(u), 1))
        for middle, half, is_round, tone in marks:
            x, y = np.abs(u - middle[0]) / half[0], np.abs(v - middle[1]) / half[1]
            color[x**2 + y**2 < 1 if is_round else np.maximum(x, y) < 1] = tone
        return color.astype(np.float32)

    return draw


def _portrait(rng: Generator) -> Drawing:
    ground, coat, hair = (any_color(rng, (0, 0.7), (0.05, 0.7)) for _ in range(3))
    skin = srgb(*(np.array([0.85, 0.65, 0.5]) * rng.uniform(0.4, 1.1)).clip(0, 1))
    x0, y0 = rng.uniform(0.4, 0.6), rng.uniform(0.55, 0.68)

    def draw(u: Floats, v: Floats) -> Floats:
        color = ground * (
            0.6 + 0.8 * noise(np.stack([5 * u, 5 * v, 0 * u], 1).astype(np.float32))[:, None]
        )
        x, y = u - x0, v - y0
        color[(x / 0.42) ** 2 + ((v + 0.05) / 0.45) ** 2 < 1] = coat
        color[(np.abs(x) < 0.07) & (y < 0) & (y > -0.28)] = skin * 0.8
        color[(x / 0.2) ** 2 + ((y - 0.03) / 0.26) ** 2 < 1] = hair
        color[(x / 0.15) ** 2 + ((y + 0.03) / 0.2) ** 2 < 1] = skin
        eyes = (np.abs(np.abs(x) - 0.06) < 0.02) & (np.abs(y) < 0.012)
        color[eyes] = 0.02
        return color.astype(np.float32)

    return draw


def _poster(rng: Generator) -> Drawing:
    paper, ink, block = any_color(rng, (0, 0.5), (0.6, 1)), any_color(rng), any_color(rng)
    split, rows = rng.uniform(0.35, 0.6), rng.uniform(30, 60)

    def draw(u: Floats, v: Floats) -> Floats:
        color = np.tile(paper, (len(u), 1))
        row = np.floor(v * rows)
        word = scatter(np.stack([np.floor(u * 60), row], 1).astype(np.int64))[:, 0] < 0.75
        color[(v < split) & (v * rows % 1 < 0.5) & word & (np.abs(u - 0.5) < 0.4)] = ink
        color[(v > split + 0.05) & (v < 0.95) & (np.abs(u - 0.5) < 0.42)] = block
        color[(u - 0.5) ** 2 + (v - (split + 1) / 2) ** 2 < 0.02] = ink
        return color.astype(np.float32)

    return draw


def _strokes(rng: Generator) -> Drawing:
    one, two, three = (any_color(rng) for _ in range(3))
    scale, shift = rng.uniform(2, 6), rng.uniform(0, 60, 3)

    def draw(u: Floats, v: Floats) -> Floats:
        place = (np.stack([u * scale, v * scale * 2, 0 * u], 1) + shift).astype(np.float32)
        first, second = fractal(place, 4), fractal(place * 2 + 9, 3)
        return mix((second - 0.5) * 8 + 0.3, mix((first - 0.5) * 6 + 0.5, one, two), three)

    return draw


def _windows(rng: Generator) -> Drawing:
    desktop, dark = any_color(rng, (0.2, 0.8), (0.2, 0.7)), rng.random() < 0.4
    paper = srgb(0.12, 0.12, 0.14) if dark else srgb(0.95, 0.95, 0.96)
    ink = srgb(0.7, 0.75, 0.7) if dark else srgb(0.15, 0.15, 0.2)
    x0, x1, rows = rng.uniform(0, 0.2), rng.uniform(0.6, 1), rng.uniform(22, 45)

    def draw(u: Floats, v: Floats) -> Floats:
        color = np.tile(desktop, (len(u), 1))
        inside = (u > x0) & (u < x1) & (v > 0.08) & (v < 0.96)
        color[inside] = paper
        color[inside & (v > 0.92)] = desktop * 0.4
        row = np.floor(v * rows)
        length = scatter(np.stack([row, row], 1).astype(np.int64))[:, 0]
        _, values = spots(np.stack([u * 40, row], 1).astype(np.float32))
        text = inside & (v < 0.9) & (v * rows % 1 < 0.45) & (u < x0 + 0.03 + length * (x1 - x0))
        color[text & (u > x0 + 0.03) & (values[:, 2] < 0.85)] = ink
        color[v < 0.04] = 0.03
        return color.astype(np.float32)

    return draw
