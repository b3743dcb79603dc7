"""Meshes: OBJ, GLB, GLTF, STL, OFF. Surfaces become points, sampled by area.

trimesh reads GLB, GLTF and STL. Coordinates are as the file has them; glTF, by its standard, has
y up.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from concerto.errors import InputError
from concerto.extras import import_extra
from concerto.io.columns import Fields
from concerto.io.gltf_claims import check_gltf
from concerto.io.obj import ObjMesh, read_obj
from concerto.io.obj_materials import NONE
from concerto.io.off import read_off
from concerto.io.textures import blend, pixels_of

SPACING = 0.01
FEWEST, MOST = 10_000, 1_000_000
MOST_TRIANGLES = 50_000_000
BLOCK = 2**14  # triangles or points at a time
SEED = 0

# A trimesh geometry or ObjMesh, and the (4, 4) transform that puts it into the scene.
Part = tuple[Any, np.ndarray]
# Triangles (n,) and the weights of their corners (n, 3) → colours (n, 3), uint8, or float32 in the
# range of the file.
ColorAt = Callable[[np.ndarray, np.ndarray], np.ndarray]


def read(path: Path, points: int | None = None) -> Fields:
    """Points on the surfaces, with normals of triangles and colours of vertices or textures.

    points: how many; without it one per SPACING², from FEWEST to MOST. The same file gives the
    same points. A file without triangles is its vertices.
    """
    if points is not None and points < 1:
        raise InputError(f"points is {points}; it must be positive.")
    parts = _load(path)
    areas = [_areas(*part) for part in parts if _triangles(part)]
    parts = [part for part in parts if _triangles(part)] or parts
    if not areas:
        return _merge([_vertices(*part) for part in parts])
    total = float(sum(area.sum() for area in areas))
    if not total > 0:
        raise InputError("Its triangles have no area.")
    if points is None:
        points = int(min(max(total / SPACING**2, FEWEST), MOST))
    random = np.random.default_rng(SEED)
    # Shares of the points that add up to them.
    ends = np.cumsum([area.sum() for area in areas]) / total * points
    counts = np.diff(np.round(ends).astype(int), prepend=0)
    return _merge(
        [
            _sample(*part, area, count, random)
            for part, area, count in zip(parts, areas, counts, strict=True)
            if count
        ]
    )


def _load(path: Path) -> list[Part]:
    suffix = path.suffix.lower()
    if suffix == ".obj":
        mesh = read_obj(path)
        if not len(mesh.vertices):
            raise InputError("It has neither triangles nor points.")
        return [(mesh, np.eye(4))]
    trimesh = import_extra("trimesh", "Mesh files")
    if suffix == ".off":
        return _parts(trimesh.Scene(trimesh.Trimesh(*read_off(path), process=False)))
    if suffix in (".glb", ".gltf"):
        check_gltf(path)
    scene = trimesh.load_scene(
        _content(path),
        file_type=suffix[1:],
        resolver=trimesh.resolvers.FilePathResolver(str(path)),
        process=False,
    )
    return _parts(scene)


def _content(path: Path) -> BinaryIO:
    """The file, its text in UTF-8: trimesh would guess at other encodings, slowly."""
    content = path.read_bytes()
    if path.suffix.lower() == ".stl" and not _is_binary_stl(content):
        try:
            content.decode()
        except UnicodeDecodeError:
            content = content.decode("latin-1").encode()
    return io.BytesIO(content)


def _is_binary_stl(content: bytes) -> bool:
    """84 bytes, the last four the number of triangles, and 50 for each."""
    return len(content) >= 84 and len(content) == 84 + 50 * int.from_bytes(content[80:84], "little")


def _parts(scene: Any) -> list[Part]:
    """Every mesh or set of points, as often as it stands in the scene."""
    parts = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        shape = scene.geometry[name]
        if shape.vertices.shape[1:] != (3,):
            raise InputError(f"Its vertices have {shape.vertices.shape[-1]} coordinates, not 3.")
        if len(shape.vertices):
            parts.append((shape, np.asarray(transform)))
    if not parts:
        raise InputError("It has neither triangles nor points.")
    if sum(map(_triangles, parts)) > MOST_TRIANGLES:
        raise InputError(f"It has more than {MOST_TRIANGLES:,} triangles, counting repetitions.")
    return parts


def _triangles(part: Part) -> int:
    return len(getattr(part[0], "faces", ()))


def _place(vertices: Any, transform: np.ndarray) -> np.ndarray:
    """(…, 3) in the scene."""
    if np.array_equal(transform, np.eye(4)):
        return np.asarray(vertices)
    placed: np.ndarray = np.asarray(vertices) @ transform[:3, :3].T + transform[:3, 3]
    return placed


def _areas(shape: Any, transform: np.ndarray) -> np.ndarray:
    """(F,) float64, zero where a corner is not finite."""
    area = np.empty(len(shape.faces))
    for start in range(0, len(area), BLOCK):
        corners = _place(shape.vertices[shape.faces[start : start + BLOCK]], transform)
        size = np.linalg.norm(_cross(corners), axis=1) / 2
        area[start : start + BLOCK] = np.where(np.isfinite(size), size, 0)
    return area


def _cross(corners: np.ndarray) -> np.ndarray:
    """(n, 3, 3) → (n, 3): normals as long as twice the area."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _sample(
    shape: Any, transform: np.ndarray, area: np.ndarray, count: int, random: np.random.Generator
) -> Fields:
    """`count` points, each with equal chance anywhere on the surface. Overwrites area (F,)."""
    ends = np.cumsum(area, out=area)
    face = np.searchsorted(ends, random.random(count) * ends[-1], side="right")
    face = np.minimum(face, len(ends) - 1)
    if isinstance(shape, ObjMesh):  # so that each texture is opened once
        face = face[np.argsort(shape.material(face), kind="stable")]
    color_at = _colors(shape)
    fields: Fields = {"coord": np.empty((count, 3)), "normal": np.empty((count, 3), np.float32)}
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        corners = _place(shape.vertices[shape.faces[face[block]]], transform)
        weight = random.random((len(corners), 3))
        beyond = weight[:, 1] + weight[:, 2] > 1  # the other half of the parallelogram, turned back
        weight[beyond] = 1 - weight[beyond]
        weight[:, 0] = 1 - weight[:, 1] - weight[:, 2]
        fields["coord"][block] = blend(corners, weight)
        normal = _cross(corners)
        fields["normal"][block] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
        if color_at is not None:
            color = color_at(face[block], weight)
            fields.setdefault("color", np.empty((count, 3), color.dtype))[block] = color
    if np.linalg.det(transform[:3, :3]) < 0:  # a mirror turns triangles inside out
        fields["normal"] *= -1
    return fields


def _colors(shape: Any) -> ColorAt | None:
    """Of the texture, else of vertices or triangles, else of the whole material."""
    if isinstance(shape, ObjMesh):
        return _obj_colors(shape)
    visual = shape.visual
    if visual.kind == "face":
        of_faces = np.asarray(visual.face_colors)[:, :3]
        return lambda face, weight: of_faces[face]
    if visual.kind == "vertex":
        return _blended(shape, np.asarray(visual.vertex_colors)[:, :3])
    if visual.kind != "texture":
        return None
    material = visual.material
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if image is not None and visual.uv is not None:
        pixel_at, uv = pixels_of(image), np.asarray(visual.uv)
        return lambda face, weight: pixel_at(blend(uv[shape.faces[face]], weight))
    plain = getattr(material, "baseColorFactor", None)
    if plain is None and getattr(material, "name", None):  # one without a name is trimesh's own
        plain = getattr(material, "diffuse", None)
    row: np.ndarray = np.full(3, 255) if plain is None else np.asarray(plain[:3])
    of_vertices = _beside_material(visual.vertex_attributes.get("color"))
    if of_vertices is not None:  # glTF multiplies them with the material's
        return _blended(shape, of_vertices * (row / 255))
    if plain is None:
        return None
    return lambda face, weight: np.tile(row.astype(np.uint8), (len(face), 1))


def _blended(shape: Any, of_vertices: np.ndarray) -> ColorAt:
    """Of colours (V, 3), 0-255."""

    def color_at(face: np.ndarray, weight: np.ndarray) -> np.ndarray:
        color = blend(of_vertices[shape.faces[face]], weight)
        return color.round().astype(np.uint8)

    return color_at


def _beside_material(colors: np.ndarray | None) -> np.ndarray | None:
    """What trimesh keeps of glTF's COLOR_0 where there is a material: as (V, 3), 0-255, or None."""
    if colors is None or colors.ndim != 2 or colors.shape[1] < 3:
        return None
    most = 1 if colors.dtype.kind == "f" else np.iinfo(colors.dtype).max
    return np.nan_to_num(colors[:, :3] / most).clip(0, 1) * 255


def _obj_colors(mesh: ObjMesh) -> ColorAt | None:
    """Of the materials where one has a texture, else of the vertices, else of plain materials.

    Of materials it is black where there is none.
    """
    images, of_vertices = mesh.materials.image_numbers()[mesh.used], mesh.colors
    textured = mesh.uv_faces is not None and (images != NONE).any()
    if of_vertices is not None and not textured:
        return lambda face, weight: blend(of_vertices[mesh.faces[face]], weight).astype(np.float32)
    if mesh.materials.give_color() and (mesh.used != NONE).any():
        return _material_colors(mesh)
    return None


def _material_colors(mesh: ObjMesh) -> ColorAt:
    """The texture's pixel, or the plain colour where there is no texture or no place in it."""
    plain, images = mesh.materials.plain(), mesh.materials.image_numbers()
    pixels_at = functools.lru_cache(maxsize=1)(mesh.materials.pixels)

    def color_at(face: np.ndarray, weight: np.ndarray) -> np.ndarray:
        material = mesh.material(face)
        color: np.ndarray = plain[material]
        image = images[material]
        if mesh.uv_faces is None:
            return color
        corners = mesh.uv_faces[face]
        image[(corners == NONE).any(axis=1)] = NONE
        # In the order of materials, as the faces are.
        for number in dict.fromkeys(image[image != NONE].tolist()):
            if pixel_at := pixels_at(number):
                there = image == number
                color[there] = pixel_at(blend(mesh.uv[corners[there]], weight[there]))
        return color

    return color_at


def _vertices(shape: Any, transform: np.ndarray) -> Fields:
    fields = {"coord": _place(np.asarray(shape.vertices), transform)}
    if isinstance(shape, ObjMesh):
        return fields if shape.colors is None else fields | {"color": shape.colors}
    visual: Any = getattr(shape, "visual", None)
    # A shape without colours has trimesh's grey for them, and no kind.
    if getattr(visual, "kind", None) == "vertex" and len(visual.vertex_colors) == len(
        shape.vertices
    ):
        fields["color"] = np.asarray(visual.vertex_colors)[:, :3]
    return fields


def _merge(parts: list[Fields]) -> Fields:
    """One after another; a part without a colour is black where others have one."""
    if len(parts) == 1:
        return parts[0]
    merged = {"coord": np.concatenate([part["coord"] for part in parts])}
    for field in ("color", "normal"):
        if any(field in part for part in parts):
            merged[field] = np.concatenate(
                [part.get(field, np.zeros(part["coord"].shape, np.uint8)) for part in parts]
            )
    return merged
