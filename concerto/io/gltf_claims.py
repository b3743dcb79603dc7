"""What a glTF scene claims, held against the file before trimesh builds it.

Its views may overlap, its accessors need no bytes behind them, and many meshes may share one array
of vertices, which trimesh copies for each: so a small file can ask for any amount of memory.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from concerto.errors import InputError
from concerto.io.limits import ALWAYS_ALLOWED

GLB_MAGIC = b"glTF"
COMPONENTS = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
SHAPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
# What trimesh makes of a vertex (3 float64) and of an index (int64).
VERTEX, INDEX = 24, 8
MOST_JSON_VALUES = 1_000_000
MOST_TIMES_FILE = 8


def check_gltf(path: Path) -> None:
    """Raises InputError where the arrays would take far more memory than the file has bytes."""
    data = _json(path)
    if data.count(b"[") + data.count(b"{") > MOST_JSON_VALUES:
        raise InputError(f"Its description has more than {MOST_JSON_VALUES:,} parts.")
    tree = json.loads(data)
    size = path.stat().st_size + sum(_beside(path, b) for b in tree.get("buffers", []))
    accessors = tree.get("accessors", [])
    counts = [max(0, accessor["count"]) for accessor in accessors]
    claimed = sum(max(0, view["byteLength"]) for view in tree.get("bufferViews", []))
    claimed += sum(
        count * COMPONENTS[accessor["componentType"]] * SHAPES[accessor["type"]]
        for count, accessor in zip(counts, accessors, strict=True)
    )
    for mesh in tree.get("meshes", []):
        for primitive in mesh["primitives"]:
            claimed += VERTEX * sum(counts[i] for i in primitive["attributes"].values())
            claimed += INDEX * (counts[primitive["indices"]] if "indices" in primitive else 0)
    if claimed > MOST_TIMES_FILE * size + ALWAYS_ALLOWED:
        raise InputError(
            f"Its arrays would take {claimed:,} bytes, and the file has {size:,}. "
            "It is damaged, or made to fill memory."
        )


def _json(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix.lower() == ".gltf":
        return data
    if data[:4] != GLB_MAGIC or len(data) < 20:
        raise InputError("It is not a GLB file: its first bytes are not glTF.")
    return data[20 : 20 + struct.unpack_from("<I", data, 12)[0]]


def _beside(path: Path, buffer: dict[str, Any]) -> int:
    """The size of a buffer in a file of its own; 0 where it is within this one."""
    uri = buffer.get("uri", "data:")
    file = path.parent / uri
    return file.stat().st_size if not uri.startswith("data:") and file.is_file() else 0
