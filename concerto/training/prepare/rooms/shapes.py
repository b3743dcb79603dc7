"""The shapes that pieces have: blocks, soft blocks, turned bodies, bars, sheets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from concerto.training.prepare.rooms.parts import Material, Part, Vector, make_part

Span = tuple[float, float]
Points = NDArray[np.float64]

# Corners of a block by x, y, z low (0) or high (1), and its sides, seen from outside.
_CORNERS = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
_SIDES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)


def centered(width: float) -> Span:
    """From -width / 2 to width / 2."""
    return -width / 2, width / 2


def about(middle: float, half: float) -> Span:
    """From middle - half to middle + half."""
    return middle - half, middle + half


def box(material: Material, x: Span, y: Span, z: Span) -> Part:
    """A block between coordinates."""
    low, high = np.array([x[0], y[0], z[0]]), np.array([x[1], y[1], z[1]])
    return _block(material, low + _CORNERS * (high - low))


def taper(material: Material, bottom: tuple[Span, Span], top: tuple[Span, Span], z: Span) -> Part:
    """A block whose bottom and top are different rectangles (x, y): a splayed leg, a wedge."""
    corners = np.empty((8, 3))
    for row, (i, j, k) in enumerate(_CORNERS):
        across = top if k else bottom
        corners[row] = across[0][i], across[1][j], z[k]
    return _block(material, corners)


def soft_box(
    material: Material, x: Span, y: Span, z: Span, radius: float, puff: float = 0.0
) -> Part:
    """A block with rounded edges. puff: metres by which its broad sides bulge (in all)."""
    low, high = np.array([x[0], y[0], z[0]]), np.array([x[1], y[1], z[1]])
    half = (high - low) / 2
    radius = min(radius, 0.99 * float(half.min()))
    grids, faces, count = [], [], 0
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        a, b = _stations(half[one], radius), _stations(half[two], radius)
        for sign in (-1, 1):
            grid = np.empty((len(a), len(b), 3))
            grid[..., axis] = sign * half[axis]
            grid[..., one], grid[..., two] = a[:, None], b[None]
            grids.append(grid.reshape(-1, 3))
            quads = _grid_faces(len(a), len(b), flip=sign < 0) + count
            faces.append(quads)
            count += len(grids[-1])
    surface = np.concatenate(grids)
    inner = surface.clip(radius - half, half - radius)
    outward = surface - inner
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    vertex = inner + radius * outward
    if puff:
        thin = int(half.argmin())
        share = (1 - (vertex / half) ** 2).clip(0)
        share[:, thin] = 1
        side = np.sign(vertex[:, thin]) * (np.abs(vertex[:, thin]) > 0.2 * half[thin])
        vertex[:, thin] += side * puff / 2 * share.prod(1)
    return make_part(vertex + (low + high) / 2, outward, np.concatenate(faces), material)


def turned_body(
    material: Material,
    profile: Sequence[tuple[float, float]],
    at: Vector = (0, 0, 0),
    sides: int = 20,
) -> Part:
    """A body of revolution about z. profile: (radius, height) from its lower to its upper end."""
    line = np.array(profile, np.float64)
    # Each stretch of the profile has vertices of its own, so that its edges stay sharp, but for
    # those that hardly bend.
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    step = np.diff(line, axis=0)
    slope = np.stack([step[:, 1], -step[:, 0]], 1)
    slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-12)
    vertices, normals, faces = [], [], []
    for number in range(len(step)):
        ends = [slope[number], slope[number]]
        for end, other in ((0, number - 1), (1, number + 1)):
            if 0 <= other < len(step) and slope[number] @ slope[other] > 0.7:
                ends[end] = slope[number] + slope[other]
        for (radius, height), (out, up) in zip(line[number : number + 2], ends, strict=True):
            flat = np.full(sides + 1, height)
            vertices.append(np.column_stack([radius * ring, flat]))
            normals.append(np.column_stack([out * ring, np.full(sides + 1, up)]))
        faces.append(_grid_faces(2, sides + 1, flip=True) + number * 2 * (sides + 1))
    normal = np.concatenate(normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    vertex = np.concatenate(vertices) + np.array(at)
    return make_part(vertex, normal, np.concatenate(faces), material)


def cylinder(
    material: Material, radius: float, z: Span, at: tuple[float, float] = (0, 0), sides: int = 20
) -> Part:
    """An upright closed cylinder."""
    profile = [(0, z[0]), (radius, z[0]), (radius, z[1]), (0, z[1])]
    return turned_body(material, profile, (*at, 0), sides)


def ball(material: Material, radius: float, at: Vector, squash: float = 1.0) -> Part:
    """A ball about a point. squash: its height over its width."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 11)
    profile = [(radius * np.cos(a), squash * radius * np.sin(a)) for a in angle]
    return turned_body(material, profile, at)


def bar(material: Material, start: Vector, end: Vector, radius: float, sides: int = 10) -> Part:
    """A round bar from point to point."""
    along = np.subtract(end, start)
    length = float(np.linalg.norm(along))
    part = cylinder(material, radius, (0, length), sides=sides)
    forward = along / length
    helper = np.array([1.0, 0, 0]) if abs(forward[0]) < 0.9 else np.array([0, 1.0, 0])
    side = np.cross(helper, forward)
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(forward, side), forward])
    vertex = part.vertex @ frame + np.array(start)
    return make_part(vertex, part.normal @ frame, part.face, material)


def sheet(material: Material, grid: Points) -> Part:
    """A thin surface through a grid of points (a, b, 3), seen from both sides."""
    du, dv = np.gradient(grid, axis=0), np.gradient(grid, axis=1)
    normal = np.cross(du, dv).reshape(-1, 3)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    faces = _grid_faces(grid.shape[0], grid.shape[1], flip=False)
    return make_part(grid.reshape(-1, 3), normal, faces, material)


def _block(material: Material, corners: Points) -> Part:
    vertex = corners[_SIDES]
    normal = np.cross(vertex[:, 1] - vertex[:, 0], vertex[:, 3] - vertex[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    first = np.arange(6)[:, None] * 4
    faces = np.concatenate([first + np.array([0, 1, 2]), first + np.array([0, 2, 3])])
    return make_part(vertex.reshape(-1, 3), np.repeat(normal, 4, axis=0), faces, material)


def _stations(half: float, radius: float) -> Points:
    """Coordinates along an edge: dense where it is round, few in between, for bulges."""
    angle = np.tan(np.linspace(np.pi / 4, 0, 4))
    end = half - radius + radius * angle
    middle = np.linspace(-(half - radius), half - radius, 7)[1:-1]
    return np.concatenate([-end, middle, end[::-1]])


def _grid_faces(rows: int, columns: int, flip: bool) -> NDArray[np.int64]:
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    quads = np.stack([a, d, c, b] if flip else [a, b, c, d], -1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
