"""A room → its samples: rendered, measured, fused from what was measured, and labelled.

Fusing and seeing are those of recordings (`prepare rgbd`). A point's class and thing are those of
the true surface that is nearest to it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto.lifting.fusion import Lifter
from concerto.lifting.visibility import visible
from concerto.training.prepare.rooms.build import build_room
from concerto.training.prepare.rooms.cameras import rays
from concerto.training.prepare.rooms.frames import Shot, take, write_frames
from concerto.training.prepare.rooms.options import RoomOptions
from concerto.training.prepare.rooms.render import Picture, render_room
from concerto.training.prepare.rooms.sensor import develop, measure, white_balance
from concerto.training.prepare.scene_samples import scene_samples
from concerto.training.scenes.encoded import EncodedSample

# Where the floor's corner lies in the world of the poses, metres along each axis: the middle of a
# voxel, so that noise does not spread floor and walls over two layers of voxels.
CORNER = 0.01
# A point this far from every surface that was seen, in metres, belongs to none.
APART = 0.1


def room_samples(number: int, options: RoomOptions) -> list[EncodedSample]:
    """The samples of room `number`. Raises InputError where frames are wanted and cannot be
    written."""
    name = f"room_{options.seed}_{number:06d}"
    shots = shoot(number, options)
    if options.frames is not None:
        write_frames(Path(options.frames) / name, shots)
    frames = [shot.frame(f"{name}/{k}") for k, shot in enumerate(shots)]
    lifter = Lifter()
    for frame in frames:
        lifter.add(frame)
    cloud = lifter.cloud()
    coord = cloud.coord.numpy()
    seen = [visible(coord, frame) for frame in frames]
    segment, instance = nearest_labels(coord, [shot.truth for shot in shots])
    photos = [shot.photo for shot in shots]
    return scene_samples(name, cloud, np.eye(3), photos, seen, segment, instance)


def shoot(number: int, options: RoomOptions) -> list[Shot]:
    """The views of a room as a camera takes them."""
    room = build_room(options.seed, number)
    rng = np.random.default_rng([options.seed, number, 1])
    pictures = render_room(room, options.views, options.size, rng)
    balance = white_balance(rng)
    return [take(develop(one, rng, balance), measure(one, rng), _in_world(one)) for one in pictures]


def _in_world(picture: Picture) -> Picture:
    pose = picture.pose.copy()
    pose[:3, 3] += CORNER
    return replace(picture, pose=pose)


def nearest_labels(
    coord: NDArray[np.float32], pictures: list[Picture]
) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Class and thing (n,) of points (n, 3): those of the nearest place that a view shows, -1 where
    none is near."""
    from scipy.spatial import cKDTree

    places = np.concatenate([_places(one) for one in pictures])
    kind = np.concatenate([one.kind[one.kind >= 0] for one in pictures])
    instance = np.concatenate([one.instance[one.kind >= 0] for one in pictures])
    distance, row = cKDTree(places).query(coord, distance_upper_bound=APART)
    found = np.isfinite(distance)
    row = np.where(found, row, 0)
    return (
        np.where(found, kind[row], -1).astype(np.int16),
        np.where(found, instance[row], -1).astype(np.int32),
    )


def _places(picture: Picture) -> NDArray[np.float32]:
    """(m, 3) where the rays of a view met something."""
    rows, columns = np.nonzero(picture.kind >= 0)
    origin, direction, forward = rays(
        picture.pose, picture.camera, columns.astype(np.float32), rows.astype(np.float32)
    )
    depth = picture.depth[rows, columns]
    return origin + direction * (depth / forward)[:, None]
