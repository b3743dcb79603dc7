"""`lift`: images with depth and poses → one cloud.

Frames pass by one at a time; what is held is the map. A scene to be turned or scaled is gone
through twice: a coarse cloud of some of its frames tells how it stands and how high it is, and then
all are fused as they will lie, for a turned lattice of voxels fits no other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from concerto.errors import ConcertoWarning, InputError
from concerto.io.pictures import decode_photo
from concerto.lifting.alignment import Align, Alignment, check_align, find_alignment
from concerto.lifting.camera import Camera
from concerto.lifting.folder import Folder, open_folder
from concerto.lifting.frame import Frame, Intrinsics
from concerto.lifting.fusion import MAX_DEPTH, VOXEL_SIZE, Lifter, check_range, used_depth
from concerto.lifting.geometry import Geometry, find_frames
from concerto.lifting.inputs import Attempt, Given, advised, as_image, attempts, images_of, tried
from concerto.lifting.keyframes import Keyframes
from concerto.lifting.layouts import is_recording, open_recording
from concerto.lifting.lifted import LiftedCloud
from concerto.lifting.video_file import is_video
from concerto.lifting.visibility import TOLERANCE, visible

# Of the frames that were left out, so many are told with their reason.
TOLD = 3
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
    if not isinstance(every, Integral) or every < 1:
        raise InputError(f"every is {every!r}; it must be a whole number, at least 1.")
    if align is not None:
        check_align(align)
    steps = None if keyframes is None else keyframes.afresh()
    run = _Run(Lifter(voxel_size, max_depth), steps, skip_bad, progress)
    given = Given(frames, depths, intrinsics, poses, confidences)
    footage = _footage(given, geometry, depth_scale, world_to_camera, every, skip_bad)
    align = align or ("none" if footage.metric else "room")
    alignment = None
    if align == "room" or seen:
        footage = footage.held("seen=True" if seen else "align='room'")
    if align != "none" and footage.again:
        alignment = _coarse_alignment(footage, align, max_depth, skip_bad)
    cloud = run.fuse(footage, alignment)
    if align == "up" and alignment is None:
        cloud = _turned(cloud)
    return _with_seen(cloud, footage, alignment, progress) if seen else cloud


@dataclass(frozen=True)
class Footage:
    """Frames in the making, whether their lengths are metres, and how many there are."""

    attempts: Iterable[Attempt]
    metric: bool = True
    total: int | None = None
    again: bool = False

    def held(self, wish: str) -> Footage:
        """The same, to go through twice. Raises InputError where that takes the video's memory."""
        if self.again:
            return self
        raise InputError(
            f"{wish} goes through the frames twice, and some were given as an iterator, or a "
            "video. Pass lists, or paths of images."
        )


def recorded(folder: Folder, every: int = 1) -> Footage:
    """The footage of a folder."""
    made = [partial(folder.read, number) for number in range(0, len(folder.frames), every)]
    return Footage(made, folder.recording.metric, len(made), again=True)


@dataclass
class _Run:
    """One pass over the frames."""

    lifter: Lifter
    keyframes: Keyframes | None
    skip_bad: bool
    progress: bool
    cameras: list[Camera] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def fuse(self, footage: Footage, alignment: Alignment | None) -> LiftedCloud:
        running = iter(footage.attempts)
        with tqdm(
            total=footage.total, desc="lifting", unit="frame", disable=not self.progress
        ) as shown:
            while True:
                try:
                    attempt = next(running, None)
                    if attempt is None:
                        break
                    self._add(attempt, alignment)
                except InputError as error:
                    self._refused(error)
                shown.update()
        self._tell()
        cloud = self.lifter.cloud()
        return replace(
            cloud,
            cameras=tuple(self.cameras),
            names=tuple(self.names),
            alignment=alignment,
            left_out=tuple(self.left_out),
        )

    def _add(self, attempt: Attempt, alignment: Alignment | None) -> None:
        frame = moved(attempt(), alignment)
        if self.keyframes is not None and not self.keyframes.would_want(frame.pose):
            return
        self.lifter.add(frame)
        if self.keyframes is not None:
            self.keyframes.keep(frame.pose)
        self.cameras.append(Camera.of(frame))
        self.names.append(frame.name)

    def _refused(self, error: InputError) -> None:
        if not self.skip_bad:
            raise advised(error) from error
        self.left_out.append(str(error))

    def _tell(self) -> None:
        if not self.left_out:
            return
        if not self.names:
            raise InputError(f"No frame can be used. The first: {self.left_out[0]}")
        told = " ".join(self.left_out[:TOLD]) + (" …" if len(self.left_out) > TOLD else "")
        many = "1 frame is" if len(self.left_out) == 1 else f"{len(self.left_out)} frames are"
        warnings.warn(f"{many} left out. {told}", ConcertoWarning, stacklevel=4)


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


def moved(frame: Frame, alignment: Alignment | None) -> Frame:
    """A frame in the world that an alignment leads to."""
    if alignment is None:
        return frame
    return replace(
        frame,
        pose=alignment.pose(frame.pose),
        depth=frame.depth * np.float32(alignment.scale),
    )


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
