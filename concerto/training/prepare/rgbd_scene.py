"""One recording → the samples of one scene.

The frames are fused to one cloud, and the images to train with are chosen evenly from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

from concerto.errors import InputError
from concerto.lifting.footage import Footage, fuse, reasons
from concerto.lifting.frame import Intrinsics
from concerto.lifting.fusion import MAX_DEPTH, VOXEL_SIZE, Lifter
from concerto.lifting.layouts import open_recording
from concerto.lifting.recording import FrameFiles, Recording
from concerto.lifting.upright import upright
from concerto.lifting.visibility import TOLERANCE, visible
from concerto.training.prepare.scene_samples import IMAGES_PER_SAMPLE, scene_samples
from concerto.training.scenes.encoded import EncodedSample


@dataclass(frozen=True)
class RgbdOptions:
    """How recordings are read and fused."""

    intrinsics: Annotated[
        tuple[float, float, float, float] | None, tyro.conf.arg(metavar="FX FY CX CY")
    ] = None
    """Camera of the colour images, in pixels, instead of what the folders tell; scaled to depth of
    another size."""
    depth_scale: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Stored steps of depth a metre; by default 5000 for TUM RGB-D, else 1000 (millimetres)."""
    stride: int = 1
    """Use every n-th frame: a video has many that show the same. 20 is plenty at 30 a second."""
    max_images: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Images of a scene to train with, chosen evenly, four a sample; by default all frames used."""
    voxel_size: float = VOXEL_SIZE
    """Metres from one point to the next."""
    max_depth: float = MAX_DEPTH
    """Metres beyond which depth is not used."""
    tolerance: float = TOLERANCE
    """Metres by which a point may miss an image's depth and still count as seen."""
    up: Literal["auto", "z"] = "auto"
    """Training wants z up. auto: find up from the cameras and level surfaces, and turn the scene;
    z: it is up already."""
    skip_bad: bool = False
    """Leave out frames, and scenes, that cannot be used, with a warning, instead of stopping."""

    def check(self) -> None:
        """Raise InputError where a value is out of range."""
        for name in ("stride", "max_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1.")
        if not self.tolerance > 0:
            raise InputError(f"tolerance is {self.tolerance:g}; it must be over 0 (metres).")

    def facts(self) -> dict[str, Any]:
        """What a card says of them: those that decide what the samples are, where they are set."""
        values = asdict(self)
        del values["skip_bad"]
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class PreparedScene:
    """The samples of a scene, which share their points, and what is to be said of it."""

    samples: list[EncodedSample]
    messages: list[str]


def prepare_scene(folder: Path, options: RgbdOptions, progress: bool = False) -> PreparedScene:
    """Fuse the frames of a folder, and see which points its images see.

    Raises InputError where a frame cannot be used, or, with skip_bad, none can.
    """
    camera = None if options.intrinsics is None else Intrinsics(*options.intrinsics)
    recording = open_recording(folder, camera, options.depth_scale)
    listed = recording.frames[:: options.stride]
    footage = Footage([partial(recording.read, files) for files in listed], total=len(listed))
    lifter = Lifter(options.voxel_size, options.max_depth)
    bar = f"{recording.name}: fusing" if progress else None
    cloud = fuse(footage, lifter, skip_bad=options.skip_bad, bar=bar)
    names = set(cloud.names)
    fused = [files for files in listed if files.name in names]
    images = _evenly(fused, options.max_images or len(fused))
    shown = tqdm(images, f"{recording.name}: seeing", unit="image", disable=not progress)
    coord = cloud.coord.numpy()
    # Half the memory of int64, in which a long video's do not fit; samples are stored in it too.
    seen = [
        visible(coord, recording.read(files), options.tolerance).astype(np.int32) for files in shown
    ]
    assert cloud.normal is not None
    poses = [camera.pose for camera in cloud.cameras]
    turn = upright(cloud.normal.numpy(), poses) if options.up == "auto" else np.eye(3)
    photos = [files.image() for files in images]
    samples = scene_samples(recording.name, cloud, turn, photos, seen)
    return PreparedScene(samples, _messages(recording, cloud.left_out, len(listed)))


def _evenly(frames: list[FrameFiles], most: int) -> list[FrameFiles]:
    """At most so many of the frames, evenly chosen, a multiple of four where there are as many."""
    count = min(most, len(frames))
    if count >= IMAGES_PER_SAMPLE:
        count -= count % IMAGES_PER_SAMPLE
    return [frames[k * len(frames) // count] for k in range(count)]


def _messages(recording: Recording, left_out: Sequence[str], frames: int) -> list[str]:
    """A line for each thing that is to be said."""
    name, messages = recording.name, []
    if left_out:
        told = f"{len(left_out)} of {frames} frames are left out"
        messages.append(f"{name}: {told}. {reasons(left_out)}")
    if not recording.metric:
        messages.append(
            f"{name}: poses of COLMAP have no known scale, and voxels, views and their "
            "crops are in metres. Use it only if its poses were brought to metres."
        )
    return messages
