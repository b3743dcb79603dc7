"""Recordings as other tools lay them out, of the room and the frames of `recordings`."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from concerto.lifting.frame import Frame
from recordings import CAMERA, frames

FRAMES = frames()
OPENGL = np.diag([1.0, -1, -1, 1])


def save(folder: Path, name: str, frame: Frame, depth: str | None = None) -> None:
    for file in (name, *filter(None, [depth])):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame.color).save(folder / name)
    if depth:
        Image.fromarray((frame.depth * 1000).round().astype(np.uint16)).save(folder / depth)


def write_nerfstudio(folder: Path, **camera: float | str) -> Path:
    listed = []
    for number, frame in enumerate(FRAMES):
        image, depth = f"images/{number}.png", f"depth/{number}.png"
        save(folder, image, frame, depth)
        matrix = (frame.pose @ OPENGL).tolist()
        listed.append({"file_path": image, "depth_file_path": depth, "transform_matrix": matrix})
    whole = {
        "fl_x": CAMERA.fx, "fl_y": CAMERA.fy, "cx": CAMERA.cx + 0.5, "cy": CAMERA.cy + 0.5,
        "w": 96, "h": 72, "frames": listed,
    }  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps(whole | camera))
    return folder


def colmap_values(frame: Frame) -> tuple[float, ...]:
    inverse = np.linalg.inv(frame.pose)
    x, y, z, w = Rotation.from_matrix(inverse[:3, :3]).as_quat()
    return w, x, y, z, *inverse[:3, 3]


def write_depth_maps(folder: Path) -> None:
    (folder / "stereo" / "depth_maps").mkdir(parents=True)
    for number, frame in enumerate(FRAMES):
        save(folder, f"images/{number}.png", frame)
        file = folder / "stereo" / "depth_maps" / f"{number}.png.geometric.bin"
        file.write_bytes(b"96&72&1&" + frame.depth.astype("<f4").tobytes())


def write_colmap_text(folder: Path) -> Path:
    write_depth_maps(folder)
    (folder / "sparse").mkdir()
    camera = f"1 PINHOLE 96 72 {CAMERA.fx} {CAMERA.fy} {CAMERA.cx + 0.5} {CAMERA.cy + 0.5}"
    (folder / "sparse" / "cameras.txt").write_text(f"# a comment\n{camera}\n")
    lines = ["# a comment"]
    for number, frame in enumerate(FRAMES):
        values = " ".join(f"{value:.9f}" for value in colmap_values(frame))
        points = "1.5 2.5 -1" if number % 2 else ""
        lines += [f"{number + 1} {values} 1 {number}.png", points]
    (folder / "sparse" / "images.txt").write_text("\n".join(lines))
    return folder


def write_colmap_binary(folder: Path) -> Path:
    write_depth_maps(folder)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    camera = struct.pack("<QiiQQ4d", 1, 7, 1, 96, 72, CAMERA.fx, CAMERA.fy,
                         CAMERA.cx + 0.5, CAMERA.cy + 0.5)  # fmt: skip
    (model / "cameras.bin").write_bytes(camera)
    images = struct.pack("<Q", len(FRAMES))
    for number, frame in enumerate(FRAMES):
        images += struct.pack("<i7di", number + 1, *colmap_values(frame), 7)
        images += f"{number}.png".encode() + b"\0" + struct.pack("<Q", number)
        images += number * struct.pack("<ddq", 1.5, 2.5, -1)
    (model / "images.bin").write_bytes(images)
    return folder


def write_arkitscenes(folder: Path) -> Path:
    lines = []
    for number, frame in enumerate(FRAMES):
        name = f"40753679_{6791.4 + number / 10:.3f}"
        save(folder, f"lowres_wide/{name}.png", frame, f"lowres_depth/{name}.png")
        pincam = folder / "lowres_wide_intrinsics" / f"{name}.pincam"
        pincam.parent.mkdir(exist_ok=True)
        pincam.write_text(f"96 72 {CAMERA.fx} {CAMERA.fy} {CAMERA.cx} {CAMERA.cy}")
        inverse = np.linalg.inv(frame.pose)
        values = (*Rotation.from_matrix(inverse[:3, :3]).as_rotvec(), *inverse[:3, 3])
        lines.append(f"{6791.4 + number / 10:.4f} " + " ".join(f"{value:.9f}" for value in values))
    (folder / "lowres_wide.traj").write_text("\n".join(lines))
    return folder


def write_record3d(folder: Path) -> Path:
    liblzfse = pytest.importorskip("liblzfse")
    poses = []
    for number, frame in enumerate(FRAMES):
        save(folder, f"rgbd/{number}.png", frame)
        (folder / "rgbd" / f"{number}.png").rename(folder / "rgbd" / f"{number}.jpg")
        sure = np.full(frame.depth.shape, 2, np.uint8)
        packed = liblzfse.compress(frame.depth.astype("<f4").tobytes())
        (folder / "rgbd" / f"{number}.depth").write_bytes(packed)
        (folder / "rgbd" / f"{number}.conf").write_bytes(liblzfse.compress(sure.tobytes()))
        turned = frame.pose @ OPENGL
        quaternion = Rotation.from_matrix(turned[:3, :3]).as_quat()
        poses.append([*quaternion.tolist(), *turned[:3, 3].tolist()])
    matrix = [CAMERA.fx, 0, 0, 0, CAMERA.fy, 0, CAMERA.cx, CAMERA.cy, 1]
    content = {"w": 96, "h": 72, "dw": 96, "dh": 72, "K": matrix, "poses": poses, "fps": 30}
    (folder / "metadata").write_text(json.dumps(content))
    return folder


WRITERS = [
    write_nerfstudio, write_colmap_text, write_colmap_binary, write_arkitscenes, write_record3d
]  # fmt: skip
