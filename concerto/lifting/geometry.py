"""Geometry from images: whatever finds depths, cameras and poses, and frames made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.frame import Intrinsics
from concerto.lifting.inputs import (
    Attempt,
    as_image,
    as_intrinsics,
    as_pose,
    images_of,
    make_frame,
    poses_of,
)
from concerto.lifting.layouts import open_recording
from concerto.lifting.video_file import is_video

Images = Sequence[NDArray[np.uint8]]
Poses = Sequence[NDArray[np.float64]]


@dataclass(frozen=True)
class Views:
    """What was found of n images.

    depths: (h, w) float32 each, 0 where unknown; h and w may differ from the image's, the view
    not. intrinsics: of the images. poses: (4, 4) each, camera to world. confidences: (h, w)
    float32 each, 0 where depth is not to be used. metric: whether lengths are metres.
    """

    depths: Sequence[NDArray[np.float32]]
    intrinsics: Sequence[Intrinsics]
    poses: Poses
    confidences: Sequence[NDArray[np.float32]] | None = None
    metric: bool = True


class Geometry(Protocol):
    """Finds depths, cameras and poses of a video's images; any callable of this signature serves.

    images: (H, W, 3) uint8 each. intrinsics, poses: what is known of them already, else None.
    """

    def __call__(
        self, images: Images, intrinsics: Sequence[Intrinsics] | None, poses: Poses | None
    ) -> Views: ...


def find_frames(
    geometry: Geometry, given: tuple[Any, ...], world_to_camera: bool, every: int
) -> tuple[list[Attempt], bool]:
    """Frames in the making of what `lift` was given, and whether their lengths are metres.

    Raises InputError where the counts differ, before and after the geometry was asked.
    """
    names, images, intrinsics, poses = _known(given, world_to_camera, every)
    if not images:
        raise InputError("There are no images to find the geometry of.")
    views = geometry(images, intrinsics, poses)
    counts = {len(images), len(views.depths), len(views.intrinsics), len(views.poses)}
    if len(counts) > 1:
        raise InputError(
            f"The geometry of {len(images)} images came as {len(views.depths)} depths, "
            f"{len(views.intrinsics)} intrinsics and {len(views.poses)} poses."
        )
    confidences: Sequence[Any] = views.confidences or [None] * len(images)
    parts = zip(
        names, images, views.depths, views.intrinsics, views.poses, confidences, strict=True
    )
    return [partial(make_frame, *part) for part in parts], views.metric


def _known(
    given: tuple[Any, ...], world_to_camera: bool, every: int
) -> tuple[list[str], list[NDArray[np.uint8]], list[Intrinsics] | None, list[Any] | None]:
    """Names, images, and the intrinsics and poses that are known."""
    frames, _, intrinsics, poses, _ = given
    if isinstance(frames, (str, Path)) and Path(frames).is_dir() and not is_video(frames):
        return _recorded(Path(frames), every)
    images = [
        as_image(image, f"frame {number}")
        for number, image in islice(enumerate(images_of(frames)), 0, None, every)
    ]
    names = [f"frame {every * number}" for number in range(len(images))]
    cameras = None if intrinsics is None else as_intrinsics(intrinsics)
    if isinstance(cameras, Intrinsics):
        cameras = [cameras] * len(images)
    elif cameras is not None:
        cameras = cameras[::every]
    placed = None
    if poses is not None:
        placed = [
            as_pose(pose, f"frame {number}", world_to_camera)
            for number, pose in islice(enumerate(poses_of(poses)), 0, None, every)
        ]
    for name, values in (("intrinsics", cameras), ("poses", placed)):
        if values is not None and len(values) != len(images):
            raise InputError(
                f"The counts differ: {len(images)} frames, {len(values)} {name}; expected one of "
                "each for every frame."
            )
    return names, images, cameras, placed


def _recorded(
    folder: Path, every: int
) -> tuple[list[str], list[NDArray[np.uint8]], list[Intrinsics], list[Any]]:
    recording = open_recording(folder)
    chosen = recording.frames[::every]
    return (
        [files.name for files in chosen],
        [as_image(files.color, files.name) for files in chosen],
        [files.camera or recording.camera for files in chosen],
        [recording.pose(files) for files in chosen],
    )
