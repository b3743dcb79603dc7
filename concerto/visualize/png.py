"""A cloud as a picture: seen from above at a good angle, shaded so that its shape is legible."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from concerto.errors import InputError
from concerto.files import replacing
from concerto.points.point_cloud import PointCloud
from concerto.visualize.camera import best_view
from concerto.visualize.drawable import colors, coordinates, drawn_rows
from concerto.visualize.splats import draw

SIZE = (1280, 960)
# Drawn larger by this and averaged down, so that edges are smooth.
SUPERSAMPLING = 2
# Eye-dome lighting: how far apart depths are compared, in radii of a typical disc, so that the
# grain of the points stays out of it; and how dark a place with all its surroundings nearer gets.
REACHES = (0.4, 0.8, 1.6)
DARKNESS = 0.9
# A step of more than this many distances between two pixels is an edge, as dark as any.
STEEPEST = 4.0
NEIGHBORS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
FAR = np.float32(1e9)
WHITE = 1.0


def write_png(
    path: str | os.PathLike[str], cloud: PointCloud, *, size: tuple[int, int] = SIZE
) -> None:
    """Write `render`'s picture of the cloud, size (width, height), whole or not at all.

    Raises InputError where there is nothing to draw, or the place cannot be written.
    """
    image = render(cloud, size=size)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def render(cloud: PointCloud, *, size: tuple[int, int] = SIZE) -> Image.Image:
    """The cloud as an RGB image of size (width, height), z up, on white.

    Points without a colour get a shade of height. Of a room, the ceiling and the nearest walls are
    left out. A few points far from all others neither shrink the rest nor need be in the frame.
    The same cloud gives the same picture.

    Raises InputError where no point has finite coordinates, or size is not positive.
    """
    if min(size) < 1:
        raise InputError(f"size is {size}; it must be (width, height), each at least 1 pixel.")
    rows = drawn_rows(cloud)
    coord, color = coordinates(cloud, rows), colors(cloud, rows)
    camera, room = best_view(coord, aspect=size[0] / size[1])
    if room is not None:
        shown = room.open_to(coord, camera.azimuth)
        coord, color = coord[shown], color[shown]
    large = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
    picture, depth, grain = draw(camera.project(coord, large), color, large)
    picture = picture * eye_dome(depth, grain)[..., None]
    picture[np.isinf(depth)] = WHITE
    pixels = (picture * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BOX)


def eye_dome(depth: NDArray[np.float32], grain: float) -> NDArray[np.float32]:
    """(H, W) float32 in 0-1, the light on depth (H, W) in pixels: dark where neighbours are nearer.

    Eye-dome lighting (Boucheny 2009): it needs no normals, and draws creases and outlines.
    grain: the radius of a typical point's disc, pixels.
    """
    # Finite, so that background beside background is no step.
    depth = np.minimum(depth, FAR)
    shade = np.zeros_like(depth)
    for reach in (max(1, round(share * grain)) for share in REACHES):
        padded = np.pad(depth, reach, constant_values=FAR)
        for down, right in NEIGHBORS:
            rows = slice(reach * (1 + down), reach * (1 + down) + depth.shape[0])
            columns = slice(reach * (1 + right), reach * (1 + right) + depth.shape[1])
            shade += ((depth - padded[rows, columns]) / reach).clip(0, STEEPEST)
    return np.exp(-DARKNESS * shade / (len(NEIGHBORS) * len(REACHES)))
