"""OFF meshes. trimesh reads these too, into forty times their size of memory."""

from __future__ import annotations

import itertools
from array import array
from pathlib import Path

import numpy as np

from concerto.errors import InputError
from concerto.io.limits import check_claim
from concerto.io.lines import lines_of

# "0 0 0" and a line end; "3 0 1 2" likewise.
SHORTEST_VERTEX, SHORTEST_FACE = 6, 8


def read_off(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and triangles (F, 3) int64; a polygon becomes a fan of triangles."""
    with path.open(encoding="latin-1") as file:
        lines = lines_of(file)
        first = next(lines, "")
        if "OFF" not in first[:6]:
            raise InputError("It is not an OFF file: its first line does not say OFF.")
        # The counts stand in the second line, or right behind the word.
        counts = first.partition("OFF")[2] or next(lines, "")
        vertex_count, face_count = (int(word) for word in counts.split()[:2])
        check_claim(
            SHORTEST_VERTEX * vertex_count + SHORTEST_FACE * face_count, path.stat().st_size
        )
        vertices = np.empty((0, 3))
        if vertex_count > 0:
            rows = itertools.islice(lines, vertex_count)
            vertices = np.loadtxt(rows, usecols=(0, 1, 2), comments=None, ndmin=2)
        triangles = array("q")
        faces = 0
        for line in itertools.islice(lines, max(face_count, 0)):
            faces += 1
            words = line.split()
            corners = [int(word) for word in words[1 : 1 + int(words[0])]]
            for second, third in itertools.pairwise(corners[1:]):
                triangles.extend((corners[0], second, third))
    if len(vertices) != vertex_count or faces != face_count:
        raise InputError(
            f"It claims {vertex_count:,} vertices and {face_count:,} faces, and has "
            f"{len(vertices):,} and {faces:,}."
        )
    shaped = np.array(triangles, np.int64).reshape(-1, 3)
    if len(shaped) and not 0 <= shaped.min() <= shaped.max() < vertex_count:
        raise InputError(f"Its faces name vertices outside 0 to {vertex_count - 1}.")
    return vertices, shaped
