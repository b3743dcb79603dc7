"""How fast, how small and how true lifting is, on 100 posed RGB-D frames of a real kitchen.

`python -m benchmarks.lifting` prints a line for each promise and exits with 1 where one is broken.
The frame that is held out, and the normals, are compared with the depth images themselves; the even
and the odd frames are lifted and encoded apart, and features at the same place compared.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch.nn import functional as F

import concerto
from benchmarks.peak import PeakOnCpu
from concerto.lifting.layouts import open_recording
from concerto.lifting.lifted import LiftedCloud
from concerto.lifting.projection import rows_seen
from concerto.lifting.recording import Recording
from concerto.lifting.surface import surface

SHARED = Path(os.environ.get("CONCERTO_SHARED", "../shared"))
GIB = 2**30
# A place of both halves: points nearer than half a voxel's diagonal.
SAME_PLACE = 0.02
MAX_DEPTH = 8.0
# Planes that are seen more from the side have the depth of their point.
GRAZING = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", nargs="?", type=Path, default=SHARED / "data" / "kitchen")
    parser.add_argument("--model", default="concerto-tiny")
    parser.add_argument("--held-out", type=int, default=8, help="every n-th frame is held out")
    options = parser.parse_args()
    recording = open_recording(options.recording)
    kept = True
    for name, value, least, most, unit in promises(recording, options):
        within = (least is None or value >= least) and (most is None or value <= most)
        kept &= within
        bound = f">= {least:g}" if least is not None else f"<= {most:g}" if most else ""
        print(f"{name:58}{value:9.3g} {unit:9}{bound:10}{'' if within else 'BROKEN'}", flush=True)
    sys.exit(not kept)


Promise = tuple[str, float, float | None, float | None, str]


def promises(recording: Recording, options: argparse.Namespace) -> Iterator[Promise]:
    """Name, value, least, most and unit of each."""
    peak = PeakOnCpu()
    peak.begin()
    began, worked = time.perf_counter(), time.process_time()
    cloud = concerto.lift(options.recording)
    seconds = time.perf_counter() - began
    worked = time.process_time() - worked
    frames = len(cloud.cameras)
    yield "lifted, reading included", frames / seconds, 5, None, "frames/s"
    yield "  the same for a processor's second", frames / worked, None, None, "frames/s"
    yield "peak memory beyond the libraries'", peak.end() / GIB, None, 2, "GiB"
    yield from held_out(recording, options.held_out)
    yield from halves(recording, options.model)


def held_out(recording: Recording, step: int) -> Iterator[Promise]:
    """Frames that took no part against the cloud of the others."""
    out = set(recording.frames[step // 2 :: step])
    lifter = concerto.Lifter()
    for files in recording.frames:
        if files not in out:
            lifter.add(recording.read(files))
    cloud = lifter.cloud()
    tree = cKDTree(cloud.coord.numpy())
    held = recording.frames[step // 2 :: step]
    parts = [against(cloud, tree, recording.read(files)) for files in held]
    plane, point, ray, angle = (np.concatenate(part) for part in zip(*parts, strict=True))
    name = "held-out frames: pixel to the cloud's surface, median"
    yield name, float(np.median(plane)) * 100, None, 1.5, "cm"
    yield "  pixel to the nearest point, median", float(np.median(point)) * 100, None, 1.5, "cm"
    yield "  along the line of sight, median", float(np.median(ray)) * 100, None, None, "cm"
    yield "  pixels explained within 5 cm", float(np.mean(point < 0.05) * 100), 90, None, "%"
    yield "  the same along the line of sight", float(np.mean(ray < 0.05) * 100), None, None, "%"
    yield "  normals within 25 degrees", float(np.mean(angle < 25) * 100), 80, None, "%"


def against(
    cloud: LiftedCloud, tree: cKDTree, frame: concerto.Frame
) -> tuple[NDArray[np.floating], ...]:
    """Of valid pixels, in metres: distances to the nearest point's plane, and to that point.

    Then errors of the depth that the cloud has along the line of sight, infinite where it is not
    seen; and the angles, in degrees, between the depth image's normals and the nearest point's.
    """
    camera = concerto.Camera.of(frame)
    rows = rows_seen(cloud, camera)
    seen = plane_depth(cloud, camera, rows)
    valid = (frame.depth > 0) & (frame.depth <= MAX_DEPTH)
    ray = np.where(rows >= 0, np.abs(seen - frame.depth), np.inf)[valid]
    own = surface(frame.depth, frame.depth_camera, MAX_DEPTH)
    row, column = valid.nonzero()
    z = frame.depth[row, column]
    fx, fy, cx, cy = frame.depth_camera.values
    points = np.stack([(column - cx) * z / fx, (row - cy) * z / fy, z])
    places = world(points, frame)[::7]
    point, at = tree.query(places)
    plane = np.abs(((places - cloud.coord.numpy()[at]) * cloud.normal.numpy()[at]).sum(1))
    near, at = tree.query(world(own.point, frame)[::7], distance_upper_bound=0.05)
    normal = (frame.pose[:3, :3] @ own.normal).T[::7][np.isfinite(near)]
    fused = cloud.normal.numpy()[at[np.isfinite(near)]]
    angle = np.degrees(np.arccos((normal * fused).sum(1).clip(-1, 1)))
    return plane, point, ray, angle


def plane_depth(
    cloud: LiftedCloud, camera: concerto.Camera, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Depth (H, W) of each pixel's point, where the line of sight meets the point's plane."""
    point = camera.to_camera(cloud.coord.numpy()).T[rows.clip(0)]
    normal = (cloud.normal.numpy() @ camera.pose[:3, :3])[rows.clip(0)]
    row, column = np.indices(rows.shape)
    fx, fy, cx, cy = camera.intrinsics.values
    ray = np.stack([(column - cx) / fx, (row - cy) / fy, np.ones(rows.shape)], axis=2)
    across = (normal * ray).sum(2)
    depth = (normal * point).sum(2) / np.where(np.abs(across) > GRAZING, across, np.nan)
    return np.where(np.isfinite(depth), depth, point[..., 2]).astype(np.float32)


def world(points: NDArray[np.floating], frame: concerto.Frame) -> NDArray[np.float64]:
    """Points (3, n) of the camera as (n, 3) of the world."""
    return np.asarray((frame.pose[:3, :3] @ points).T + frame.pose[:3, 3])


def halves(recording: Recording, name: str) -> Iterator[Promise]:
    """Even and odd frames, lifted and encoded apart.

    The two clouds' boxes differ, and with them the origin that a model tells coordinates from and
    cuts voxels by. So each is encoded around an origin given for both, and also by itself.
    """
    turn = concerto.lift(recording_folder(recording), align="up", every=4).alignment
    model = concerto.from_pretrained(name)
    pinned, alone, coords = [], [], []
    for first in (0, 1):
        stream = concerto.Stream(model, alignment=turn, origin=(0, 0, 0))
        for files in recording.frames[first::2]:
            stream.add(recording.read(files))
        stream.update()
        coords.append(stream.cloud().coord)
        pinned.append(stream.features())
        alone.append(model.encode(stream.cloud()))
    near, at = cKDTree(coords[1].numpy()).query(coords[0].numpy(), distance_upper_bound=SAME_PLACE)
    both = torch.from_numpy(np.isfinite(near).nonzero()[0])
    at = torch.from_numpy(at)[both]
    mixed = at[torch.randperm(len(at), generator=torch.manual_seed(0))]
    same = F.cosine_similarity(pinned[0][both], pinned[1][at])
    apart = F.cosine_similarity(pinned[0][both], pinned[1][mixed])
    yield f"even and odd frames, {name}: cosine at a place", float(same.median()), 0.9, None, ""
    yield "  at random places", float(apart.median()), None, None, ""
    above = float((same > apart.median()).float().mean() * 100)
    yield "  pairs at a place above the median of random ones", above, 90, None, "%"
    own = F.cosine_similarity(alone[0][both], alone[1][at])
    yield "  at a place, each around the middle of its own box", float(own.median()), None, None, ""


def recording_folder(recording: Recording) -> Path:
    """Where a recording's images lie."""
    return recording.frames[0].color.parent


if __name__ == "__main__":
    main()
