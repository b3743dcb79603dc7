"""A room to record: what a camera sees of it is computed, not measured, so that truth is known.

The room is 4 x 3 x 2.5 m, z up, every side of one colour, with a pillar in the middle.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from concerto.lifting.frame import Frame, Intrinsics

# No side lies between two voxels of 2 or 10 cm, where rounding would choose.
ROOM = np.array([[0.03, 0.03, 0.03], [4.03, 3.03, 2.53]])
PILLAR = np.array([[1.93, 1.43, 0.03], [2.13, 1.63, 2.53]])
# Sides: low x, y, z, then high x, y, z; the pillar is of one colour all around.
COLORS = np.array(
    [[200, 40, 40], [40, 200, 40], [90, 90, 90], [40, 40, 200], [200, 200, 40], [220, 220, 220]],
    np.uint8,
)
PILLAR_COLOR = np.array([200, 40, 200], np.uint8)
CAMERA = Intrinsics(70.0, 70.0, 47.5, 35.5)
SHAPE = (72, 96)


@dataclass(frozen=True)
class View:
    """Where a camera stands, and what it looks at."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]

    @property
    def pose(self) -> np.ndarray:
        """Camera to world: z forward, y down."""
        forward = np.subtract(self.target, self.eye)
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = self.eye
        return pose


# Around the room, along the walls, each looking across.
VIEWS = tuple(
    View((2 + 1.4 * np.cos(a), 1.5 + 1.0 * np.sin(a), 1.5), (2 - np.cos(a), 1.5 - np.sin(a), 0.9))
    for a in np.arange(8) * np.pi / 4 + 0.1
)


def record(view: View, name: str = "frame", camera: Intrinsics = CAMERA) -> Frame:
    """What the camera sees: exact depth, and the colour of each side."""
    rows, columns = np.indices(SHAPE).reshape(2, -1)
    rays = np.stack([(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy])
    rays = np.concatenate([rays, np.ones((1, rays.shape[1]))]).T @ view.pose[:3, :3].T
    with np.errstate(divide="ignore"):
        walls = ((ROOM[:, None] - view.eye) / rays).transpose(1, 0, 2).reshape(-1, 6)
        slabs = (PILLAR[:, None] - view.eye) / rays
    walls[walls <= 0] = np.inf
    depth, color = walls.min(1), COLORS[walls.argmin(1)]
    enter, leave = slabs.min(0).max(1), slabs.max(0).min(1)
    hit = (enter < leave) & (enter > 0) & (enter < depth)
    depth, color = np.where(hit, enter, depth), np.where(hit[:, None], PILLAR_COLOR, color)
    return Frame(
        name=name,
        color=color.reshape(*SHAPE, 3),
        depth=depth.reshape(SHAPE).astype(np.float32),
        pose=view.pose,
        camera=camera,
        depth_camera=camera,
    )


def frames() -> list[Frame]:
    """The room, seen from all views."""
    return [record(view, f"frame-{number}") for number, view in enumerate(VIEWS)]


def distance_to_room(coord: np.ndarray) -> np.ndarray:
    """How far each point (n, 3) is from the nearest surface."""
    walls = np.abs(coord[:, None] - ROOM).min((1, 2))
    outside = np.maximum(PILLAR[0] - coord, coord - PILLAR[1])
    pillar = np.where(
        (outside > 0).any(1), np.linalg.norm(outside.clip(0), axis=1), -outside.max(1)
    )
    return np.minimum(walls, pillar)


def write_flat(folder: Path, recorded: list[Frame]) -> Path:
    """As 7-Scenes lays frames out."""
    folder.mkdir(parents=True)
    np.savetxt(folder / "intrinsics.txt", _matrix(recorded[0].camera))
    for number, frame in enumerate(recorded):
        stem = folder / f"frame-{number:06d}"
        Image.fromarray(frame.color).save(f"{stem}.color.png")
        _save_depth(Path(f"{stem}.depth.png"), frame, 1000)
        np.savetxt(f"{stem}.pose.txt", frame.pose)
    return folder


def write_tum(folder: Path, recorded: list[Frame]) -> Path:
    """As TUM RGB-D lays frames out: depth 7 ms after colour, poses ten times as often."""
    for part in ("rgb", "depth"):
        (folder / part).mkdir(parents=True)
    lists: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": []}
    for number, frame in enumerate(recorded):
        time = 1305031102.0 + number / 30
        color, depth = f"rgb/{time:.6f}.png", f"depth/{time + 0.007:.6f}.png"
        Image.fromarray(frame.color).save(folder / color)
        _save_depth(folder / depth, frame, 5000)
        lists["rgb"].append(f"{time:.6f} {color}")
        lists["depth"].append(f"{time + 0.007:.6f} {depth}")
        quaternion = Rotation.from_matrix(frame.pose[:3, :3]).as_quat()
        values = " ".join(f"{v:.9f}" for v in (*frame.pose[:3, 3], *quaternion))
        lists["groundtruth"].append(f"{time + 0.003:.6f} {values}")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(["# a comment", *lines]))
    return folder


def write_scannet(folder: Path, recorded: list[Frame]) -> Path:
    """As ScanNet's reader exports frames: colour twice as large as depth, every tenth number."""
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    for name, scale in (("depth", 1), ("color", 2)):
        matrix = np.eye(4)
        matrix[:3, :3] = _matrix(recorded[0].camera)
        matrix[:2, :3] *= scale
        matrix[:2, 2] += (scale - 1) / 2
        np.savetxt(folder / "intrinsic" / f"intrinsic_{name}.txt", matrix)
    for number, frame in enumerate(recorded):
        color = np.repeat(np.repeat(frame.color, 2, axis=0), 2, axis=1)
        Image.fromarray(color).save(folder / "color" / f"{number * 10}.jpg", quality=95)
        _save_depth(folder / "depth" / f"{number * 10}.png", frame, 1000)
        np.savetxt(folder / "pose" / f"{number * 10}.txt", frame.pose)
    return folder


def write_sens(
    file: Path, recorded: list[Frame], packed: bool = True, poses: list[np.ndarray] | None = None
) -> Path:
    """As ScanNet's `.sens`, version 4: JPEG colour twice as large as depth, motion data behind.

    poses: instead of the frames', such as those of lost tracking.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    height, width = SHAPE
    name = b"StructureSensor"
    parts = [struct.pack("<IQ", 4, len(name)), name]
    for scale in (2, 1):
        intrinsic = np.eye(4)
        intrinsic[:3, :3] = _matrix(recorded[0].camera)
        intrinsic[:2, :3] *= scale
        intrinsic[:2, 2] += (scale - 1) / 2
        parts += [_floats(intrinsic), _floats(np.eye(4))]
    sizes = (2 * width, 2 * height, width, height)
    parts.append(struct.pack("<iiIIIIfQ", 2, int(packed), *sizes, 1000.0, len(recorded)))
    for number, frame in enumerate(recorded):
        stream = io.BytesIO()
        color = np.repeat(np.repeat(frame.color, 2, axis=0), 2, axis=1)
        Image.fromarray(color).save(stream, "JPEG", quality=95)
        depth = (frame.depth * 1000).round().astype("<u2").tobytes()
        depth = zlib.compress(depth) if packed else depth
        content = stream.getvalue()
        pose = frame.pose if poses is None else poses[number]
        parts.append(_floats(pose) + struct.pack("<4Q", 0, 0, len(content), len(depth)))
        parts += [content, depth]
    parts.append(struct.pack("<Q", 1) + bytes(128))
    file.write_bytes(b"".join(parts))
    return file


def turned(frame: Frame, rotation: np.ndarray) -> Frame:
    """The same frame in a world that is turned."""
    pose = frame.pose.copy()
    pose[:3] = rotation @ pose[:3]
    return replace(frame, pose=pose)


def _matrix(camera: Intrinsics) -> np.ndarray:
    return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])


def _floats(matrix: np.ndarray) -> bytes:
    return matrix.astype("<f4").tobytes()


def _save_depth(file: Path, frame: Frame, scale: float) -> None:
    Image.fromarray((frame.depth * scale).round().astype(np.uint16)).save(file)
