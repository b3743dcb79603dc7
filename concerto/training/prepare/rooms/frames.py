"""What was rendered, as files: frames beside each other in a folder, as 7-Scenes lays them out.

`frame-000000.color.jpg`, `.depth.png` (millimetres, 0 where nothing was measured), `.pose.txt`
(camera to world, 4×4), and `intrinsics.txt` for all: `prepare rgbd` reads this. Beside them lie
`.class.png` (8 bits, 255 for none) and `.instance.png` (16 bits, 65535 for none), which it leaves
alone; `classes.txt` names the classes, one a line.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from concerto.errors import InputError
from concerto.io.pictures import decode_photo
from concerto.lifting.frame import Frame
from concerto.training.prepare.rooms.classes import CLASSES
from concerto.training.prepare.rooms.parts import Floats
from concerto.training.prepare.rooms.render import Picture

MILLIMETRES = 1000
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Shot:
    """A view as it was taken: photo, a JPEG; depth (h, w) uint16 millimetres; the truth beside."""

    photo: bytes
    depth: NDArray[np.uint16]
    truth: Picture

    def frame(self, name: str) -> Frame:
        """What a reader of its files gets."""
        return Frame(
            name=name,
            color=decode_photo(self.photo, name),
            depth=self.depth.astype(np.float32) / np.float32(MILLIMETRES),
            pose=self.truth.pose,
            camera=self.truth.camera,
            depth_camera=self.truth.camera,
        )


def take(photo: NDArray[np.uint8], depth: Floats, truth: Picture) -> Shot:
    """Encode a photograph (h, w, 3) and its depth (h, w) in metres."""
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=JPEG_QUALITY)
    return Shot(stream.getvalue(), (depth * MILLIMETRES).round().astype(np.uint16), truth)


def write_frames(folder: Path, shots: list[Shot]) -> None:
    """Write a room's frames.

    Raises InputError where the folder cannot be written, or has more frames than these, which
    would be taken for frames of this room and camera.
    """
    if (folder / f"frame-{len(shots):06d}.pose.txt").exists():
        raise InputError(
            f"{folder} has over {len(shots)} frames, of an earlier run. Pass another folder for "
            "frames, or remove that one."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        camera = shots[0].truth.camera
        matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        np.savetxt(folder / "intrinsics.txt", matrix)
        (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
        for number, shot in enumerate(shots):
            _write_frame(folder / f"frame-{number:06d}", shot)
    except OSError as error:
        raise InputError(f"Cannot write {folder}: {error.strerror or error}.") from error


def _write_frame(stem: Path, shot: Shot) -> None:
    Path(f"{stem}.color.jpg").write_bytes(shot.photo)
    Image.fromarray(shot.depth).save(f"{stem}.depth.png")
    np.savetxt(f"{stem}.pose.txt", shot.truth.pose)
    kind = np.where(shot.truth.kind < 0, 255, shot.truth.kind).astype(np.uint8)
    Image.fromarray(kind).save(f"{stem}.class.png")
    instance = np.where(shot.truth.instance < 0, 65535, shot.truth.instance).astype(np.uint16)
    Image.fromarray(instance).save(f"{stem}.instance.png")
