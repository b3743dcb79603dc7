"""Colours, as light adds up: linear, (3,) float32 in 0-1."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Span = tuple[float, float]


def srgb(red: float, green: float, blue: float) -> Floats:
    """The linear colour of values as pictures store them, 0-1. IEC 61966-2-1."""
    stored = np.array([red, green, blue])
    linear = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def to_srgb(linear: Floats) -> Floats:
    """The stored values in 0-1 of linear ones."""
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def any_color(rng: Generator, saturation: Span = (0, 0.85), value: Span = (0.1, 0.95)) -> Floats:
    """Any hue, warm ones and blues more often; muted more often than bright."""
    strength = saturation[0] + (saturation[1] - saturation[0]) * rng.beta(1.1, 2.2)
    choice = rng.random()
    hue = rng.normal(0.08, 0.045) if choice < 0.45 else rng.normal(0.57, 0.05)
    if choice > 0.65:
        hue = rng.uniform(0, 0.66)
    if choice > 0.97:
        hue = rng.random()
    return srgb(*colorsys.hsv_to_rgb(hue % 1, strength, rng.uniform(*value)))


def wall_color(rng: Generator) -> Floats:
    """White to light grey and beige for the most part, at times a pale tint."""
    if rng.random() < 0.7:
        warm = rng.uniform(-0.02, 0.06)
        grey = rng.uniform(0.72, 0.97)
        return srgb(min(grey + warm, 1), min(grey + 0.55 * warm, 1), grey - warm)
    return _hued(rng, rng.uniform(0.04, 0.2), rng.uniform(0.7, 0.95))


def accent_color(rng: Generator) -> Floats:
    """Strong or dark, as of one wall among pale ones."""
    return _hued(rng, rng.uniform(0.2, 0.65), rng.uniform(0.2, 0.85))


def _hued(rng: Generator, saturation: float, value: float) -> Floats:
    """Yellows, greens and blues, hardly ever purple or pink."""
    hue = rng.uniform(0.03, 0.68) if rng.random() < 0.9 else rng.random()
    return srgb(*colorsys.hsv_to_rgb(hue, saturation, value))


def wood_colors(rng: Generator) -> tuple[Floats, Floats]:
    """A light and a dark tone: birch to wenge, stained grey or painted at times."""
    hue, saturation = rng.uniform(0.04, 0.11), rng.uniform(0.2, 0.7)
    value = rng.uniform(0.18, 0.9)
    if rng.random() < 0.15:
        saturation *= 0.2
    light = srgb(*colorsys.hsv_to_rgb(hue, saturation, value))
    darker = colorsys.hsv_to_rgb(
        hue - 0.01, min(saturation * 1.25, 1), value * rng.uniform(0.5, 0.8)
    )
    return light, srgb(*darker)


def grey(rng: Generator, value: Span = (0.05, 0.95)) -> Floats:
    """A grey with a trace of colour."""
    return any_color(rng, (0, 0.06), value)
