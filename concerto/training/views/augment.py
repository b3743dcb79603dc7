"""Random changes of a cloud's coordinates, colours and normals, each a function of arrays.

Values and order are those of the published Concerto recipe (arXiv 2510.23607); what probing and
fine-tuning change instead is in `augment_labelled`. Arrays are (3, n),
a row for each axis or channel, since numpy is several times as fast along rows. Every function
leaves its input as it is, and draws only from the generator it is given. Nothing here goes through
a BLAS, whose last bits depend on its number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.random import Generator
from scipy.ndimage import uniform_filter
from torch.nn import functional as F

DROP_ALL, DROP_SOME, DROP_SHARE = 0.2, 0.5, 0.2
JITTER_COLOR, TRANSLATE_COLOR, TRANSLATION = 0.8, 0.95, 0.05
SCALE = (0.9, 1.1)
ROTATE, TILT = 0.8, math.pi / 64
FLIP = 0.5
JITTER_SIGMA, JITTER_CLIP = 0.005, 0.02
DISTORT = 0.95
DISTORTIONS = ((0.2, 0.4), (0.8, 1.6))  # metres between nodes of the noise, factor on the noise
# The noise is mirrored beyond so many nodes along an axis (25 m and 100 m), so that a scene of
# hundreds of metres takes no more memory than a building.
MOST_NODES = 128
# Luma of ITU-R BT.601.
GRAY = (0.299, 0.587, 0.114)


def drop(values: np.ndarray, random: Generator) -> np.ndarray:
    """Colours or normals (3, n) set to zero: all with p 0.2, then with p 0.5 a fifth of the points.

    Before `augment_color`, which leaves a dropped colour a constant near zero, not zero.
    """
    if random.random() < DROP_ALL:
        return np.zeros_like(values)
    if random.random() < DROP_SOME:
        return np.where(random.random(values.shape[1]) < DROP_SHARE, 0, values)
    return values


def augment_color(color: np.ndarray, random: Generator) -> np.ndarray:
    """Colours (3, n) float32 in 0-1: the four jitters in random order, each with p 0.8, then
    `translate_color`."""
    for step in random.permutation(len(JITTERS)):
        change, low, high = JITTERS[step]
        if random.random() < JITTER_COLOR:
            color = change(color, random.uniform(low, high))
    return translate_color(color, random)


def translate_color(color: np.ndarray, random: Generator) -> np.ndarray:
    """With p 0.95 colours plus one offset a channel, within 0.05 of zero."""
    if random.random() < TRANSLATE_COLOR:
        offset = random.uniform(-TRANSLATION, TRANSLATION, (3, 1)).astype(np.float32)
        color = (color + offset).clip(0, 1)
    return color


def change_brightness(color: np.ndarray, factor: float) -> np.ndarray:
    """Colours times `factor`."""
    return (color * factor).clip(0, 1)


def change_contrast(color: np.ndarray, factor: float) -> np.ndarray:
    """Differences from the mean gray of all points, times `factor`."""
    return blend(color, _gray(color).mean(), factor)


def change_saturation(color: np.ndarray, factor: float) -> np.ndarray:
    """Differences from each point's own gray, times `factor`."""
    return blend(color, _gray(color), factor)


def change_hue(color: np.ndarray, turn: float) -> np.ndarray:
    """Hues moved by `turn` of the whole circle, lightness and chroma kept.

    By the closed form of HSV: with hue h in sixths of the circle, a channel is
    value - chroma · clip(min(k, 4 - k), 0, 1), k = (5, 3, 1 for red, green, blue) + h modulo 6.
    """
    red, green, blue = color
    value = color.max(0)
    chroma = value - color.min(0)
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue += 6 * turn
    turned = np.empty_like(color)
    for channel, shift in zip(turned, (5, 3, 1), strict=True):
        k = hue + shift
        k -= 6 * np.floor(k / 6)
        channel[:] = value - chroma * np.minimum(k, 4 - k).clip(0, 1)
    return turned


Jitter = tuple[Callable[[np.ndarray, float], np.ndarray], float, float]
JITTERS: tuple[Jitter, ...] = (
    (change_brightness, 0.6, 1.4),
    (change_contrast, 0.6, 1.4),
    (change_saturation, 0.8, 1.2),
    (change_hue, -0.02, 0.02),
)


def _gray(color: np.ndarray) -> np.ndarray:
    gray: np.ndarray = GRAY[0] * color[0] + GRAY[1] * color[1] + GRAY[2] * color[2]
    return gray


def blend(color: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """A share of the colours, the rest of others."""
    return (color * share + other * np.float32(1 - share)).clip(0, 1)


def augment_geometry(
    coord: np.ndarray, normal: np.ndarray, random: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and normals (3, n) float32 of one view, moved about the centre of the floor."""
    return move(coord - floor_middle(coord), normal, ROTATE, random)


def floor_middle(coord: np.ndarray) -> np.ndarray:
    """Half way along x and y at the least z, (3, 1), of coordinates (3, n)."""
    low, high = coord.min(1, keepdims=True), coord.max(1, keepdims=True)
    middle: np.ndarray = (low + high) / 2
    middle[2] = low[2]
    return middle


def move(
    coord: np.ndarray, normal: np.ndarray, rotate: float, random: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and normals (3, n) float32: scaled, turned and flipped about 0, jittered,
    distorted. Normals only turn and flip. rotate: see `draw_rotation`."""
    scale = random.uniform(*SCALE)
    turn = draw_rotation(rotate, random)
    coord = _transform(scale * turn, coord)
    normal = _transform(turn, normal)
    noise = random.standard_normal(coord.shape, dtype=np.float32) * JITTER_SIGMA
    coord += noise.clip(-JITTER_CLIP, JITTER_CLIP)
    if random.random() < DISTORT:
        for spacing, factor in DISTORTIONS:
            coord = distort(coord, spacing, factor, random)
    return coord, normal


def _transform(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """matrix @ vectors, in float32."""
    columns = matrix.astype(np.float32)[:, :, None].swapaxes(0, 1)
    product: np.ndarray = columns[0] * vectors[0] + columns[1] * vectors[1]
    product += columns[2] * vectors[2]
    return product


def draw_rotation(rotate: float, random: Generator) -> np.ndarray:
    """An orthogonal (3, 3): about z by any angle, tilted about x, then y by up to π/64, each with
    p `rotate`; then x and y each flipped with p 0.5."""
    matrix = np.eye(3)
    for axis, most in ((2, math.pi), (0, TILT), (1, TILT)):
        if random.random() < rotate:
            matrix = _rotation(axis, random.uniform(-most, most)) @ matrix
    signs = np.where(random.random(2) < FLIP, -1.0, 1.0)
    return np.diag([*signs, 1.0]) @ matrix


def _rotation(axis: int, angle: float) -> np.ndarray:
    """Right-handed, for columns."""
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[second, first] = math.sin(angle)
    matrix[first, second] = -math.sin(angle)
    return matrix


def distort(coord: np.ndarray, spacing: float, factor: float, random: Generator) -> np.ndarray:
    """Elastic distortion: coordinates (3, n) float32 moved by smooth noise.

    Normal noise on nodes `spacing` metres apart, one node beyond the points on each side, is
    averaged twice over 3 x 3 x 3 nodes (zero outside), and read off between the nodes linearly.
    """
    at = (coord - coord.min(1, keepdims=True)) / np.float32(spacing)
    nodes = np.minimum(at.max(1).astype(np.int64) + 3, MOST_NODES)
    noise = random.standard_normal((3, *nodes), dtype=np.float32)
    for _ in range(2):
        noise = uniform_filter(noise, (1, 3, 3, 3), mode="constant")
    last = (nodes - 1).astype(np.float32)[:, None]
    at = last - np.abs(last - (at + 1) % (2 * last))
    # grid_sample wants places in -1 … 1, the last axis of the noise first.
    places = torch.from_numpy(2 / last * at - 1).flip(0).T
    shift = F.grid_sample(
        torch.from_numpy(noise)[None], places[None, None, None], align_corners=True
    )
    moved: np.ndarray = coord + shift[0, :, 0, 0].numpy() * np.float32(factor)
    return moved
