"""What the benchmarks encode: voxels of a filled room, and of a real scan, filled and as it is.

A filled room has a point in every 2 cm cell of its surfaces, as a fused scan has. The ScanNet scan
as it is was thinned, to about one cell in twenty: few neighbours at the finest level, and levels
that hardly shrink.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

import concerto
from concerto.points.prepare import EncoderInput, prepare

GRID_SIZE = 0.02
# Twice as fine as the grid, so that rotated surfaces leave no cell out.
SPACING = GRID_SIZE / 2
HEIGHT = 2.6
# How much surface a square metre of floor comes with, furniture and walls included.
SURFACE = 4.0
SCAN = Path(os.environ.get("CONCERTO_SHARED", "../shared")) / "data/scans/scannet_scene0000_00.ply"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Patch:
    """A rectangle of surface: a corner and two edges (3,), in metres."""

    corner: Array
    u: Array
    v: Array


def filled_room(voxels: int) -> concerto.PointCloud:
    """A furnished room whose surfaces fill at least `voxels` cells of 2 cm; the same every time."""
    random = np.random.default_rng(0)
    area = 1.15 * voxels * GRID_SIZE**2 / SURFACE
    width, depth = 1.2 * np.sqrt(area), np.sqrt(area) / 1.2
    patches = _shell(width, depth)
    for _ in range(max(1, round(area / 2.5))):
        patches += _cabinet(random, width, depth)
    points = [_sample(patch, random) for patch in patches]
    coord, color, normal = (
        torch.from_numpy(np.concatenate(part)) for part in zip(*points, strict=True)
    )
    return concerto.PointCloud(coord, color.float(), normal.float())


def dense_scan() -> concerto.PointCloud:
    """The ScanNet scan with its surface filled: discs of 1 cm spacing in each point's plane."""
    cloud = concerto.estimate_normals(concerto.read(SCAN))
    coord, normal = cloud.coord.double().numpy(), cloud.normal.double().numpy()
    reach = np.minimum(cKDTree(coord).query(coord, k=6)[0][:, -1], 0.08)
    steps = np.arange(-8, 9) * SPACING
    disc = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    side = np.where(np.abs(normal[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    u = np.cross(normal, side)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(normal, u)
    point, step = np.nonzero(np.linalg.norm(disc, axis=1) <= reach[:, None])
    filled = coord[point] + disc[step, :1] * u[point] + disc[step, 1:] * v[point]
    return concerto.PointCloud(torch.from_numpy(filled), cloud.color[point], cloud.normal[point])


def sparse_scan() -> concerto.PointCloud:
    """The ScanNet scan as it is, with normals."""
    return concerto.estimate_normals(concerto.read(SCAN))


def cropped(cloud: concerto.PointCloud, voxels: int | None = None) -> EncoderInput:
    """Voxels as the encoder takes them: all, or as many as wanted, nearest to one in the middle."""
    prepared = prepare(cloud, 1.0, GRID_SIZE, "xyz")
    if voxels is None:
        return prepared
    if len(prepared.grid_coord) < voxels:
        raise SystemExit(f"The input has {len(prepared.grid_coord):,} voxels, not {voxels:,}.")
    return nearest(prepared, voxels)


def nearest(prepared: EncoderInput, voxels: int) -> EncoderInput:
    """That many voxels, nearest to one in the middle."""
    grid = prepared.grid_coord
    middle = grid[(grid - grid.double().mean(0)).square().sum(1).argmin()]
    rows = (grid - middle).square().sum(1).argsort(stable=True)[:voxels].sort().values
    kept = grid[rows]
    return EncoderInput(prepared.feat[rows], kept - kept.amin(0), torch.arange(voxels))


def _shell(width: float, depth: float) -> list[Patch]:
    """Floor and walls."""
    zero, x, y, z = np.zeros(3), np.array([width, 0, 0]), np.array([0, depth, 0]), [0, 0, HEIGHT]
    up = np.array(z)
    return [Patch(zero, x, y), Patch(zero, up, x), Patch(zero, y, up), Patch(x, up, y),
            Patch(y, x, up)]  # fmt: skip


def _cabinet(random: np.random.Generator, width: float, depth: float) -> list[Patch]:
    """A box on the floor, turned at random: its top and four sides."""
    long, wide, high = random.uniform([0.4, 0.3, 0.3], [1.6, 0.9, 1.9])
    angle = random.uniform(0, np.pi)
    x = long * np.array([np.cos(angle), np.sin(angle), 0])
    y = wide * np.array([-np.sin(angle), np.cos(angle), 0])
    up = np.array([0, 0, high])
    corner = np.array([random.uniform(0.5, width - 1), random.uniform(0.5, depth - 1), 0.0])
    return [
        Patch(corner + up, x, y),
        Patch(corner, x, up),
        Patch(corner, up, y),
        Patch(corner + x, y, up),
        Patch(corner + y, up, x),
    ]


def _sample(patch: Patch, random: np.random.Generator) -> tuple[Array, Array, Array]:
    """Points on a lattice over the rectangle, one colour with some noise, one normal."""
    lengths = [np.linalg.norm(edge) for edge in (patch.u, patch.v)]
    steps = [(np.arange(np.ceil(length / SPACING)) + 0.5) * SPACING / length for length in lengths]
    s, t = (axis.reshape(-1, 1) for axis in np.meshgrid(*steps, indexing="ij"))
    coord = patch.corner + s * patch.u + t * patch.v
    color = np.clip(random.uniform(0.2, 0.9, 3) + random.normal(0, 0.05, coord.shape), 0, 1)
    normal = np.cross(patch.u, patch.v) / lengths[0] / lengths[1]
    return coord, color, np.broadcast_to(normal, coord.shape)
