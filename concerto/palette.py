"""Colours of classes: ScanNet's own, and distinct ones for any other set."""

from __future__ import annotations

import colorsys

SCANNET_CLASSES = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "desk",
    "curtain",
    "refrigerator",
    "shower curtain",
    "toilet",
    "sink",
    "bathtub",
    "otherfurniture",
)
# Of the ScanNet benchmark, in the order of the classes.
SCANNET_PALETTE = (
    (174, 199, 232),
    (152, 223, 138),
    (31, 119, 180),
    (255, 187, 120),
    (188, 189, 34),
    (140, 86, 75),
    (255, 152, 150),
    (214, 39, 40),
    (197, 176, 213),
    (148, 103, 189),
    (196, 156, 148),
    (23, 190, 207),
    (247, 182, 210),
    (219, 219, 141),
    (255, 127, 14),
    (158, 218, 229),
    (44, 160, 44),
    (112, 128, 144),
    (227, 119, 194),
    (82, 84, 163),
)
# The golden angle, as a share of the circle: however many hues are taken, they are spread.
GOLDEN = 0.381966


def distinct_colors(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours 0-255 for so many classes, easy to tell from one another."""
    colors = []
    for number in range(count):
        # Hues alone run out at about ten; then brightness and saturation tell.
        value, saturation = ((0.9, 0.65), (0.65, 0.85), (1.0, 0.4))[number % 3]
        red, green, blue = colorsys.hsv_to_rgb((0.58 + number * GOLDEN) % 1, saturation, value)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colors)
