"""OBJ meshes, in memory of at most ten times the file's size, whatever its lines hold.

The text is read a block at a time, and each kind of line in a block at once. Corners stay as flat
as they stand in the file: polygons are cut into triangles where these are looked at.
"""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from concerto.errors import InputError
from concerto.io.lines import LONGEST_LINE
from concerto.io.obj_materials import NONE, Materials
from concerto.io.text import MARK

BLOCK = 2**16  # characters at a time
VERTEX, UV, FACE, USE, LIBRARY = range(1, 6)
# By the first two characters of a line; the others (vn, o, g, s, l, p, …) are ignored.
KINDS = {
    **dict.fromkeys(("v", "v ", "v\t"), VERTEX),
    **dict.fromkeys(("f", "f ", "f\t"), FACE),
    "vt": UV,
    "us": USE,
    "mt": LIBRARY,
}
CONTINUED = re.compile(r"^([^#\n]*)\\\n", re.MULTILINE)


@dataclass
class Fans:
    """Polygons as fans of triangles, which come to be where they are indexed.

    corners (C,) int32: of all polygons, one after another. firsts (P,) int64: the number of each
    polygon's first triangle.
    """

    corners: np.ndarray
    firsts: np.ndarray

    def __len__(self) -> int:
        """How many triangles."""
        return len(self.corners) - 2 * len(self.firsts)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        """(n, 3) int32."""
        if len(self.corners) == 3 * len(self.firsts):
            triangles: np.ndarray = self.corners.reshape(-1, 3)[index]
            return triangles
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        polygon = self.polygon(index)
        second = index + 2 * polygon + 1  # each polygon has two corners more than triangles
        first = self.firsts[polygon] + 2 * polygon
        return np.stack([self.corners[i] for i in (first, second, second + 1)], axis=1)

    def polygon(self, triangle: np.ndarray) -> np.ndarray:
        """(n,) numbers of triangles → of the polygons they are cut from."""
        return np.searchsorted(self.firsts, triangle, side="right") - 1


@dataclass
class ObjMesh:
    """vertices (V, 3) float64; colors (V, 3) float32, in the file's range, or None.

    faces: triangles of vertices; uv_faces: the same ones of rows of uv (T, 2) float32, or NONE at
    corners without. runs (R,) int64: the first polygon of each run of one material; used (R,)
    int32: that material, or NONE.
    """

    vertices: np.ndarray
    colors: np.ndarray | None
    faces: Fans
    uv: np.ndarray
    uv_faces: Fans | None
    materials: Materials
    runs: np.ndarray
    used: np.ndarray

    def material(self, triangle: np.ndarray) -> np.ndarray:
        """(n,) numbers of triangles → of materials, NONE without."""
        if not len(self.runs):
            return np.full(len(triangle), NONE)
        run = np.searchsorted(self.runs, self.faces.polygon(triangle), side="right") - 1
        return np.where(run < 0, NONE, self.used[run])


def read_obj(path: Path) -> ObjMesh:
    """All its vertices, and the faces of three corners or more.

    Raises InputError where a vertex has no three numbers, or a face names what is not there.
    """
    parser = _Parser(path.parent)
    # Latin-1 reads any bytes, one a character; what is not a number is found out below.
    with path.open(encoding="latin-1") as file:
        if file.read(len(MARK)) != MARK:
            file.seek(0)
        for lines in _blocks(file):
            parser.add(lines)
    return parser.mesh()


def _blocks(file: TextIO) -> Iterator[list[str]]:
    """The lines, a bounded number at a time, with continued ones joined and without comments."""
    while text := file.read(BLOCK):
        end = len(text) + LONGEST_LINE
        text += file.readline(LONGEST_LINE)
        while text.endswith("\\\n") and len(text) < end and (more := file.readline(LONGEST_LINE)):
            text += more
        is_cut = len(text) >= end
        if "\\\n" in text:
            text = CONTINUED.sub(r"\1 ", text)
        lines = text.split("\n")
        if is_cut or max(map(len, lines)) >= LONGEST_LINE:
            raise InputError(f"It has a line of {LONGEST_LINE:,} characters or more.")
        lines = [line.strip() for line in lines]
        if "#" in text:  # names may hold one
            lines = [
                line if line.startswith(("us", "mt")) else line.partition("#")[0] for line in lines
            ]
        yield lines


class _Parser:
    """Flat arrays that grow in place, a block of lines at a time."""

    def __init__(self, folder: Path) -> None:
        self.vertices, self.colors, self.uv = array("d"), array("f"), array("f")
        self.corners, self.uv_corners, self.firsts = array("i"), array("i"), array("q")
        self.runs, self.used = array("q"), array("i")
        self.materials = Materials(folder)

    def add(self, lines: list[str]) -> None:
        kinds = np.fromiter((KINDS.get(line[:2], 0) for line in lines), np.uint8, len(lines))
        # Negative indices count back from what stands before their line.
        is_face = kinds == FACE
        vertices = len(self.vertices) // 3 + np.cumsum(kinds == VERTEX)[is_face]
        uvs = len(self.uv) // 2 + np.cumsum(kinds == UV)[is_face]
        polygons = len(self.firsts)
        try:
            self._add_vertices(
                [line.split() for line in itertools.compress(lines, kinds == VERTEX)]
            )
            self._add_uv([line.split() for line in itertools.compress(lines, kinds == UV)])
            rows = [line.split()[1:] for line in itertools.compress(lines, is_face)]
            sizes = np.fromiter(map(len, rows), np.int64, len(rows))
            is_polygon = sizes > 2
            if is_polygon.any():
                rows = list(itertools.compress(rows, is_polygon))
                self._add_faces(rows, sizes[is_polygon], vertices[is_polygon], uvs[is_polygon])
        except (ValueError, OverflowError) as error:
            raise InputError(f"A vertex or face of it is not made of numbers: {error}.") from error
        before = np.zeros(len(lines), np.int64)
        before[is_face] = is_polygon
        before = polygons + np.cumsum(before)
        for i in np.flatnonzero(kinds >= USE):
            self._add_material(lines[i], int(before[i]))

    def _add_vertices(self, rows: list[list[str]]) -> None:
        """x y z, maybe a weight, or red green blue."""
        if not rows:
            return
        widths = set(map(len, rows))
        if min(widths) < 4:
            raise InputError("It has a vertex of fewer than three numbers.")
        # Colours are kept where every vertex has one.
        if min(widths) >= 7 and len(self.colors) == len(self.vertices):
            words = itertools.chain.from_iterable(row[4:7] for row in rows)
            self.colors.extend(map(float, words))
        else:
            self.colors = array("f")
        words = itertools.chain.from_iterable(row[1:4] for row in rows)
        self.vertices.extend(map(float, words))

    def _add_uv(self, rows: list[list[str]]) -> None:
        """u, and v or 0."""
        words = itertools.chain.from_iterable((*row[1:3], "0", "0")[:2] for row in rows)
        self.uv.extend(map(float, words))

    def _add_faces(
        self, rows: list[list[str]], sizes: np.ndarray, vertices: np.ndarray, uvs: np.ndarray
    ) -> None:
        """Words v, v/vt, v//vn or v/vt/vn. sizes, vertices, uvs (n,): corners, and rows before."""
        words = list(itertools.chain.from_iterable(rows))
        firsts = len(self.corners) - 2 * len(self.firsts) + np.cumsum(sizes - 2) - (sizes - 2)
        if any("/" in word for word in words):
            parts = [word.split("/", 2) for word in words]
            words = [part[0] for part in parts]
            uv_words = [part[1] if len(part) > 1 else "" for part in parts]
            if self.uv_corners or any(uv_words):
                if not self.uv_corners:
                    self.uv_corners = array("i", [NONE]) * len(self.corners)
                of_uv = np.fromiter((int(word or 0) for word in uv_words), np.int64, len(words))
                resolved = _resolve(of_uv, np.repeat(uvs, sizes))
                self.uv_corners.frombytes(
                    np.where(of_uv == 0, NONE, resolved).astype("i").tobytes()
                )
        elif self.uv_corners:
            self.uv_corners.extend(array("i", [NONE]) * len(words))
        indices = np.fromiter(map(int, words), np.int64, len(words))
        if not indices.all():
            raise InputError("A face of it names vertex 0; they are counted from 1.")
        resolved = _resolve(indices, np.repeat(vertices, sizes))
        self.corners.frombytes(resolved.astype("i").tobytes())
        self.firsts.frombytes(firsts.tobytes())

    def _add_material(self, line: str, polygons: int) -> None:
        key, _, name = line.replace("\t", " ").partition(" ")
        if key == "mtllib":
            self.materials.add_library(name.strip())
        elif key == "usemtl":
            self.runs.append(polygons)
            self.used.append(self.materials.number(name.strip()))

    def mesh(self) -> ObjMesh:
        vertices = _table(self.vertices, 3)
        uv = _table(self.uv, 2)
        firsts = _flat(self.firsts)
        faces = Fans(_flat(self.corners), firsts)
        if len(faces) and faces.corners.max() >= len(vertices):
            raise InputError(
                f"A face of it names vertex {faces.corners.max() + 1:,}, and there are "
                f"{len(vertices):,}."
            )
        uv_faces = None
        if self.uv_corners and len(uv):  # some files name uv and leave them out
            uv_faces = Fans(_flat(self.uv_corners), firsts)
            if uv_faces.corners.max() >= len(uv):
                raise InputError(
                    f"A face of it names texture coordinate {uv_faces.corners.max() + 1:,}, and "
                    f"there are {len(uv):,}."
                )
        colors = _table(self.colors, 3) if self.colors else None
        runs, used = _flat(self.runs), _flat(self.used)
        return ObjMesh(vertices, colors, faces, uv, uv_faces, self.materials, runs, used)


def _resolve(indices: np.ndarray, before: np.ndarray) -> np.ndarray:
    """From 1, or negative from what stands before → from 0."""
    resolved = np.where(indices < 0, indices + before, indices - 1)
    if resolved.min() < NONE or resolved.max() > np.iinfo(np.int32).max:
        raise InputError("A face of it names what lies far outside the file.")
    if (resolved[indices < 0] < 0).any():
        raise InputError("A face of it counts back beyond the first vertex or coordinate.")
    return resolved


def _flat(values: array[Any]) -> np.ndarray:
    """Without a copy."""
    return np.frombuffer(values, values.typecode) if values else np.empty(0, values.typecode)


def _table(values: array[Any], width: int) -> np.ndarray:
    return _flat(values).reshape(-1, width)
