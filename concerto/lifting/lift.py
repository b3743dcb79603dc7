"""`lift`: images with depth and poses → one cloud.

Frames pass by one at a time; what is held is the map. A scene to be turned or scaled is gone
through twice: a coarse cloud of some of its frames tells how it stands and how high it is, and then
all are fused as they will lie, for a turned lattice of voxels fits no other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from concerto.arguments import positive_integer
from concerto.errors import ConcertoWarning, InputError
from concerto.io.pictures import decode_photo
from concerto.lifting.alignment import Align, Alignment, check_align, find_alignment
from concerto.lifting.folder import open_folder
from concerto.lifting.footage import Footage, fuse, moved, reasons, recorded
from concerto.lifting.frame import Frame, Intrinsics
from concerto.lifting.fusion import MAX_DEPTH, VOXEL_SIZE, Lifter, check_range, used_depth
from concerto.lifting.geometry import Geometry, find_frames
from concerto.lifting.inputs import Attempt, Given, as_image, attempts, images_of, tried
from concerto.lifting.keyframes import Keyframes
from concerto.lifting.layouts import is_recording, open_recording
from concerto.lifting.lifted import LiftedCloud
from concerto.lifting.video_file import is_video
from concerto.lifting.visibility import TOLERANCE, visible

# Enough frames to see how a scene stands, and the coarse map's voxel for a median depth of 2 m.
SAMPLE, COARSE, TYPICAL = 40, 0.05, 2.0


def lift(
    frames: Any,
    depths: Any = None,
    intrinsics: Any = None,
    poses: Any = None,
    *,
    confidences: Any = None,
    geometry: Geometry | None = None,
    depth_scale: float | None = None,
    world_to_camera: bool = False,
    voxel_size: float = VOXEL_SIZE,
    max_depth: float = MAX_DEPTH,
    every: int = 1,
    keyframes: Keyframes | None = None,
    align: Align | None = None,
    seen: bool = False,
    skip_bad: bool = False,
    progress: bool = False,
) -> LiftedCloud:
    """Fuse images with depth and poses to a cloud with colour, normals and confidence.

    frames: (H, W, 3) images as arrays or paths, of any number, a video's path, a folder of images,
    or that of a recording, which brings the rest along (see `open_recording`); what is passed
    beside it goes first. depths: (h, w) each, arrays or paths of 16-bit images, 0 where unknown;
    the size may be another, the view not. intrinsics: of the images, 3x3 or fx fy cx cy in pixels,
    one or one a frame. poses: 4x4 camera to world, x right, y down, z forward, or their files, or
    one file of all. All may be iterators.

    confidences: (h, w) each, what depths weigh. geometry: finds what was not given from the images.
    depth_scale: stored steps a metre; by default floats are metres, integers and files millimetres.
    world_to_camera: the poses are the inverse. voxel_size, max_depth: metres. every: use every
    n-th frame. keyframes: fuse only those from where the camera has moved on. align: "none" leaves
    the cloud in the poses' world, "up" turns z up, "room" also scales it to 3 m and puts the floor
    at 0; by default "room" where the scale is unknown, else "none". seen: tell for each frame which
    points it sees. skip_bad: leave out what cannot be used, with a warning. progress: show a bar.

    Raises InputError where the counts differ, or a frame cannot be used, with its name.
    """
    every = positive_integer(every, "every")
    if align is not None:
        check_align(align)
    steps = None if keyframes is None else keyframes.afresh()
    lifter = Lifter(voxel_size, max_depth)
    given = Given(frames, depths, intrinsics, poses, confidences)
    footage = _footage(given, geometry, depth_scale, world_to_camera, every, skip_bad)
    align = align or ("none" if footage.metric else "room")
    alignment = None
    if align == "room" or seen:
        footage = footage.held("seen=True" if seen else "align='room'")
    if align != "none" and footage.again:
        alignment = _coarse_alignment(footage, align, max_depth, skip_bad)
    cloud = fuse(footage, lifter, steps, alignment, skip_bad, "lifting" if progress else None)
    if cloud.left_out:
        many = len(cloud.left_out)
        told = f"{many} frames are left out" if many > 1 else "1 frame is left out"
        warnings.warn(f"{told}. {reasons(cloud.left_out)}", ConcertoWarning, stacklevel=2)
    if align == "up" and alignment is None:
        cloud = _turned(cloud)
    return _with_seen(cloud, footage, alignment, progress) if seen else cloud


def images_again(
    source: Path, cloud: LiftedCloud, every: int = 1, upright: bool = False
) -> Iterator[NDArray[np.uint8]]:
    """The images of the frames that a cloud was fused from, once more.

    source, every: as `lift` was given them: a video, a folder of images, or a recording's. upright:
    whether neither intrinsics nor poses were given, so that photos were set upright.
    """
    wanted = set(cloud.names)
    if is_video(source) or not is_recording(source):
        for number, image in enumerate(images_of(source)):
            if f"frame {number}" in wanted:
                yield as_image(image, f"frame {number}", upright)
        return
    for files in open_recording(source, cloud.cameras[0].intrinsics).frames[::every]:
        if files.name in wanted:
            yield decode_photo(files.image(), files.name)


def _footage(
    given: Given,
    geometry: Geometry | None,
    depth_scale: float | None,
    world_to_camera: bool,
    every: int,
    skip_bad: bool,
) -> Footage:
    frames = given.frames
    if geometry is not None:
        if depth_scale is not None:
            raise InputError(
                "A geometry finds depths in metres or without scale: pass no depth_scale."
            )
        made, metric = find_frames(geometry, given, world_to_camera, every, skip_bad)
        return Footage(made, metric, len(made), again=True)
    if isinstance(frames, (str, Path)) and not is_video(frames) and given.depths is None:
        if given.confidences is not None:
            raise InputError("A recording's folder weighs its depths itself; confidences are none.")
        folder = open_folder(
            Path(frames), given.intrinsics, given.poses, world_to_camera, depth_scale
        )
        return recorded(folder, every)

    def make() -> Iterator[Attempt]:
        return islice(attempts(given, depth_scale, world_to_camera), 0, None, every)

    # Not the intrinsics: of these a single one may be given, of any length.
    each = (frames, given.depths, given.poses)
    sizes = [len(part) for part in each if isinstance(part, Sized) and not isinstance(part, str)]
    again = not is_video(frames) and all(
        part is None or isinstance(part, (Sized, str, Path, Intrinsics))
        for part in (*each, given.intrinsics, given.confidences)
    )
    total = -(-min(sizes) // every) if sizes else None
    return Footage(_Again(make) if again else make(), True, total, again)


class _Again:
    """An iterable that begins anew each time; what is wrong at once is said at once."""

    def __init__(self, make: Callable[[], Iterator[Attempt]]) -> None:
        make()
        self._make = make

    def __iter__(self) -> Iterator[Attempt]:
        return self._make()


def _coarse_alignment(
    footage: Footage, align: Align, max_depth: float, skip_bad: bool
) -> Alignment:
    """How a scene of any scale stands, from some of its frames."""
    made = list(footage.attempts)

    def check(attempt: Attempt) -> Frame:
        frame = attempt()
        if footage.metric:  # Else the scale that is found here would hide a wrong unit.
            check_range(frame, max_depth)
        return frame

    found = [tried(partial(check, a), skip_bad) for a in made[:: max(1, len(made) // SAMPLE)]]
    frames = [frame for frame in found if isinstance(frame, Frame)]
    if not frames:
        raise InputError(f"No frame can tell how the scene stands. The first: {found[0]}")
    scale = TYPICAL / _median_depth(frames)
    coarse = Alignment(np.eye(3), scale)
    lifter = Lifter(COARSE, max_depth=10 * TYPICAL)
    scaled = [moved(frame, coarse) for frame in frames]
    for frame in scaled:
        with suppress(InputError):  # Told, with its own name and unit, when it is to be fused.
            lifter.add(frame)
    turned = _found(lifter.cloud(), [frame.pose for frame in scaled], align)
    return replace(turned, scale=turned.scale * scale if align == "room" else 1.0)


def _median_depth(frames: Sequence[Frame]) -> float:
    """Of a frame in the middle. Raises InputError where none has depth that is to be used."""
    used = [depth[depth > 0] for depth in map(used_depth, frames)]
    medians = [np.median(depth) for depth in used if len(depth)]
    if not medians:
        raise InputError(
            "No frame can tell how the scene stands: the confidence is 0 wherever "
            f"{frames[0].name} and the others have depth."
        )
    return float(np.median(medians))


def _found(cloud: LiftedCloud, poses: Sequence[NDArray[np.float64]], align: Align) -> Alignment:
    assert cloud.normal is not None
    found = find_alignment(cloud.coord.numpy(), cloud.normal.numpy(), poses, align)
    assert found is not None
    return found


def _turned(cloud: LiftedCloud) -> LiftedCloud:
    """z up."""
    assert cloud.normal is not None
    found = _found(cloud, [camera.pose for camera in cloud.cameras], "up")
    return replace(
        cloud,
        coord=torch.from_numpy(found.points(cloud.coord.numpy())),
        normal=cloud.normal @ torch.from_numpy(found.rotation.T).float(),
        cameras=tuple(replace(c, pose=found.pose(c.pose)) for c in cloud.cameras),
        alignment=found,
    )


def _with_seen(
    cloud: LiftedCloud, footage: Footage, alignment: Alignment | None, progress: bool
) -> LiftedCloud:
    """With the points that each fused frame sees."""
    turn, seen, fused = alignment or cloud.alignment, [], set(cloud.names)
    coord = cloud.coord.numpy()
    bar = tqdm(footage.attempts, "seeing", footage.total, unit="frame", disable=not progress)
    for attempt in bar:
        with suppress(InputError):  # Told when it was to be fused.
            frame = attempt()
            if frame.name in fused:
                seen.append(visible(coord, moved(frame, turn), TOLERANCE))
    return replace(cloud, visible=tuple(seen))
