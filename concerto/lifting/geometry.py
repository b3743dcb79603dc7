"""Geometry from images: whatever finds depths, cameras and poses, and frames made of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from concerto.errors import ConcertoWarning, InputError
from concerto.io.pictures import decode_photo
from concerto.lifting.folder import Folder, open_folder
from concerto.lifting.frame import Intrinsics, Sizes, check_image, check_pose
from concerto.lifting.inputs import (
    Attempt,
    Given,
    as_image,
    as_intrinsics,
    as_pose,
    check_counts,
    images_of,
    make_frame,
    poses_of,
    tried,
)
from concerto.lifting.layouts import is_recording
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


@dataclass(frozen=True)
class _Shot:
    """An image, and what is known of how it was taken. metric: whether the pose is in metres."""

    name: str
    image: NDArray[np.uint8]
    camera: Intrinsics | None
    pose: NDArray[np.float64] | None
    metric: bool = True


def find_frames(
    geometry: Geometry, given: Given, world_to_camera: bool, every: int, skip_bad: bool
) -> tuple[list[Attempt], bool]:
    """Frames in the making of what `lift` was given, and whether their lengths are metres.

    skip_bad: images that cannot be used are not shown to the geometry; their attempts say why.

    Raises InputError where the counts differ, before and after the geometry was asked.
    """
    if given.depths is not None or given.confidences is not None:
        raise InputError("A geometry finds depths and confidences: pass none beside it.")
    shots = _shots(given, world_to_camera, every, skip_bad)
    usable = [shot for shot in shots if isinstance(shot, _Shot)]
    if not usable:
        told = f" The first: {shots[0]}" if shots else ""
        raise InputError(f"There are no images to find the geometry of.{told}")
    cameras = [shot.camera for shot in usable if shot.camera is not None]
    poses = [shot.pose for shot in usable if shot.pose is not None]
    views = geometry([shot.image for shot in usable], cameras or None, poses or None)
    _check_views(views, len(usable))
    if views.metric and not all(shot.metric for shot in usable):
        warnings.warn(
            f"The depths found for {given.frames} are metres, and its poses are of unknown scale: "
            "what is fused is a room only where these are metres too.",
            ConcertoWarning,
            stacklevel=4,
        )
    # Any sequence serves, arrays too, which are neither true nor false.
    none: Sequence[Any] = [None] * len(usable)
    confidences = none if views.confidences is None else views.confidences
    found = zip(views.depths, views.intrinsics, views.poses, confidences, strict=True)
    return [
        partial(_lost, shot)
        if isinstance(shot, InputError)
        else partial(make_frame, shot.name, shot.image, *next(found))
        for shot in shots
    ], views.metric


def _check_views(views: Views, images: int) -> None:
    parts = {
        "depths": views.depths,
        "intrinsics": views.intrinsics,
        "poses": views.poses,
        "confidences": views.confidences,
    }
    counts = {name: len(part) for name, part in parts.items() if part is not None}
    if set(counts.values()) != {images}:
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise InputError(f"The geometry of {images} images came as {told}; expected one of each.")


def _lost(error: InputError) -> NoReturn:
    raise error


def _shots(
    given: Given, world_to_camera: bool, every: int, skip_bad: bool
) -> list[_Shot | InputError]:
    """What was given of each frame; of one that cannot be used, why."""
    frames, intrinsics, poses = given.frames, given.intrinsics, given.poses
    is_path = isinstance(frames, (str, Path)) and not is_video(frames)
    if is_path and is_recording(Path(frames)):
        made = _of_folder(open_folder(Path(frames), intrinsics, poses, world_to_camera), every)
    else:
        made = _of_parts(frames, intrinsics, poses, world_to_camera, every)
    sizes = Sizes()

    def checked(attempt: Callable[[], _Shot]) -> _Shot:
        shot = attempt()
        if shot.camera is not None:
            sizes.check(shot.name, shot.camera, shot.image)
        return shot

    return [tried(partial(checked, attempt), skip_bad) for attempt in made]


def _of_folder(folder: Folder, every: int) -> Iterator[Callable[[], _Shot]]:
    for number in range(0, len(folder.frames), every):
        yield partial(_shot_of_folder, folder, number)


def _shot_of_folder(folder: Folder, number: int) -> _Shot:
    files = folder.frames[number]
    image = decode_photo(files.image(), files.name)
    metric = folder.recording.metric or folder.poses is not None
    return _Shot(files.name, image, folder.camera(number, image), folder.pose(number), metric)


def _of_parts(
    frames: Any, intrinsics: Any, poses: Any, world_to_camera: bool, every: int
) -> Iterator[Callable[[], _Shot]]:
    """Raises InputError where the counts differ."""
    cameras = None if intrinsics is None else as_intrinsics(intrinsics)
    placed = None if poses is None else list(islice(poses_of(poses), 0, None, every))
    images = list(islice(images_of(frames), 0, None, every))
    many = cameras[::every] if isinstance(cameras, list) else None
    check_counts({"frames": images, "intrinsics": many, "poses": placed})
    for number, image in enumerate(images):
        camera = cameras if isinstance(cameras, Intrinsics) else None
        camera = many[number] if many else camera
        name, pose = f"frame {every * number}", placed[number] if placed else None
        if placed and pose is None:
            yield partial(_lost, InputError(f"{name} has no pose (None was given)."))
        else:
            yield partial(_shot, name, image, camera, pose, world_to_camera)


def _shot(
    name: str, image: Any, camera: Intrinsics | None, pose: Any, world_to_camera: bool
) -> _Shot:
    placed = None if pose is None else as_pose(pose, name, world_to_camera)
    if placed is not None:
        check_pose(placed, name)
    # A camera is of the pixels as they are stored; without any, a photo on its side is set upright.
    color = as_image(image, name, upright=camera is None and pose is None)
    check_image(color, name)
    return _Shot(name, color, camera, placed)
