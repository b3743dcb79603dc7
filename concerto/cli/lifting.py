"""What `concerto lift` and `concerto video` have in common: how footage is read and fused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.lifting.alignment import Align
from concerto.lifting.depth_model import DepthModel
from concerto.lifting.folder import open_folder
from concerto.lifting.fusion import MAX_DEPTH, VOXEL_SIZE
from concerto.lifting.geometry import Geometry
from concerto.lifting.keyframes import Keyframes
from concerto.lifting.lift import images_again, lift
from concerto.lifting.lifted import LiftedCloud
from concerto.lifting.vggt import VGGT
from concerto.lifting.video_file import is_video


@dataclass(frozen=True)
class LiftOptions:
    """How a recording or video becomes a cloud."""

    poses: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A text file with 16 or 12 numbers a line, a frame's camera to world each; of a video, or in
    place of a recording's own."""
    intrinsics: Annotated[
        tuple[float, float, float, float] | None, tyro.conf.arg(metavar="FX FY CX CY")
    ] = None
    """Of a video's camera, in pixels of its images as players show them, or in place of a
    recording's own."""
    world_to_camera: bool = False
    """The poses lead from world to camera."""
    depth_model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A model of transformers that estimates depth in metres, for what has poses but no depth."""
    vggt: bool = False
    """Find depths, cameras and poses with VGGT, for a video or images that have none of them."""
    depth_scale: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Stored steps of depth a metre; by default as the recording's kind has it, else 1000."""
    align: Literal["auto", "none", "up", "room"] = "auto"
    """none: the poses' world; up: turn z up; room: also scale it to 3 m, the floor at 0; auto: room
    where the scale is unknown, else up."""
    every: int = 1
    """Use every n-th frame."""
    keyframes: bool = False
    """Fuse only frames from where the camera has moved by 10 cm or turned by 10 degrees."""
    voxel_size: float = VOXEL_SIZE
    """Metres from one point to the next."""
    max_depth: float = MAX_DEPTH
    """Metres beyond which depth is not used."""
    skip_bad: bool = False
    """Leave out frames that cannot be used, with a warning, instead of stopping."""

    def lift(self, source: Path, device: str) -> LiftedCloud:
        """The cloud of a folder or video. device: where depth is found, if it is."""
        geometry = self._geometry(source, device)
        return lift(
            source,
            None,
            self.intrinsics,
            self.poses,
            geometry=geometry,
            depth_scale=self.depth_scale,
            world_to_camera=self.world_to_camera,
            voxel_size=self.voxel_size,
            max_depth=self.max_depth,
            every=self.every,
            keyframes=Keyframes() if self.keyframes else None,
            align=self._align(source),
            skip_bad=self.skip_bad,
            progress=True,
        )

    def images(self, source: Path, cloud: LiftedCloud) -> Iterator[NDArray[np.uint8]]:
        """The images (H, W, 3) of the frames that `lift` made the cloud of, once more."""
        return images_again(
            source, cloud, self.every, upright=self.intrinsics is None and self.poses is None
        )

    def _align(self, source: Path) -> Align | None:
        """What to ask `concerto.lift` for; None leaves it to find whether the scale is known."""
        if self.align != "auto":
            return self.align
        return "up" if self._metric(source) else None

    def _metric(self, source: Path) -> bool:
        """Whether lengths will be metres."""
        if self.vggt or self.depth_model:
            return not self.vggt
        return open_folder(source, self.intrinsics).recording.metric

    def _geometry(self, source: Path, device: str) -> Geometry | None:
        if self.vggt and self.depth_model:
            raise InputError("Pass --vggt or --depth-model, not both.")
        if self.vggt:
            return VGGT(device=device)
        if self.depth_model:
            return DepthModel(self.depth_model, device, progress=True)
        if is_video(source):
            raise InputError(
                f"{source} is a video without depth: pass --vggt to find depth, cameras and poses, "
                "or --depth-model NAME with --poses FILE and --intrinsics FX FY CX CY."
            )
        return None


def describe(cloud: LiftedCloud) -> str:
    """One line on what was lifted."""
    told = f"{len(cloud)} points of {len(cloud.cameras)} frames"
    return told if cloud.alignment is None else f"{told}; {cloud.alignment}"
