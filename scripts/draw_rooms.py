"""Draw the pictures of docs/rooms.md from prepared rooms and their frames.

python -m concerto.training.prepare rooms out/rooms --scenes 12 --frames out/frames
python scripts/draw_rooms.py out/rooms out/frames docs/images
"""

import colorsys
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from concerto.points.point_cloud import PointCloud
from concerto.training.prepare.rooms.classes import CLASSES
from concerto.training.scenes.sources import open_scenes
from concerto.visualize.png import render

COLUMNS = 4
TILE = (216, 162)
# Which of a room's images, and which room is shown as a cloud.
VIEWS = (1, 6)
CLOUD = 4
CLOUD_SIZE = (432, 324)


def main(prepared: Path, frames: Path, out: Path) -> None:
    """Write rooms.jpg, rooms_classes.png and rooms_cloud.jpg."""
    rooms = sorted(frames.iterdir())
    names = [room / f"frame-{VIEWS[number % len(VIEWS)]:06d}" for number, room in enumerate(rooms)]
    photos = [Image.open(f"{name}.color.jpg") for name in names]
    sheet(photos, Image.Resampling.BOX).save(out / "rooms.jpg", quality=82)
    palette = class_colors()
    kinds = [np.asarray(Image.open(f"{name}.class.png")) for name in names]
    classes = sheet([Image.fromarray(palette[k]) for k in kinds], Image.Resampling.NEAREST)
    classes.quantize(len(CLASSES), dither=Image.Dither.NONE).save(out / "rooms_classes.png")

    source = open_scenes(prepared)
    samples = (source[number] for number in range(len(source)))
    scene = next(one for one in samples if one.name == f"{rooms[CLOUD].name}_0")
    assert scene.segment is not None
    coord = torch.from_numpy(scene.coord)
    pictures = [
        render(PointCloud(coord, torch.from_numpy(color).float() / 255), size=CLOUD_SIZE)
        for color in (scene.color, palette[scene.segment])
    ]
    side_by_side = Image.new("RGB", (2 * CLOUD_SIZE[0], CLOUD_SIZE[1]))
    for number, picture in enumerate(pictures):
        side_by_side.paste(picture, (number * CLOUD_SIZE[0], 0))
    side_by_side.save(out / "rooms_cloud.jpg", quality=85)


def sheet(pictures: Sequence[Image.Image], how: Image.Resampling) -> Image.Image:
    """Pictures side by side, in rows."""
    rows = -(-len(pictures) // COLUMNS)
    whole = Image.new("RGB", (COLUMNS * TILE[0], rows * TILE[1]))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, COLUMNS)
        whole.paste(picture.resize(TILE, how), (column * TILE[0], row * TILE[1]))
    return whole


def class_colors() -> NDArray[np.uint8]:
    """(256, 3): greys for walls, floor, ceiling and none; of others, neighbours far apart."""
    colors = np.full((256, 3), 90, np.uint8)
    colors[:3] = [[205], [165], [230]]
    for number in range(3, len(CLASSES)):
        hue, value = number * 0.618 % 1, (0.95, 0.7, 0.85)[number % 3]
        colors[number] = np.multiply(255, colorsys.hsv_to_rgb(hue, 0.55, value))
    return colors


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
