"""A room as triangles, and what rays meet in it. Rays are traced by Embree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto.extras import import_extra
from concerto.training.prepare.rooms.classes import Kind
from concerto.training.prepare.rooms.items import Item
from concerto.training.prepare.rooms.parts import Floats, Material, Spots, rotation_about
from concerto.training.prepare.rooms.room import Room
from concerto.training.prepare.rooms.vectors import dot, length

# Rays start this far off the surface that they leave: metres.
OFF = 1e-3


@dataclass(frozen=True)
class Hits:
    """What n rays met. hit: (n,) bool. distance: (n,) metres along the ray, infinite where nothing
    was met. face: (n,) the triangle. point, normal: (n, 3), the normal towards the ray's start,
    smooth on round things. spots: where textures are looked up."""

    hit: NDArray[np.bool_]
    distance: Floats
    face: NDArray[np.int64]
    point: Floats
    normal: Floats
    spots: Spots


class Geometry:
    """The triangles of a room. part: (f,) which piece each belongs to; materials: of each piece;
    kind, instance: (p,) class and thing of each piece, walls and the like being things too."""

    def __init__(self, room: Room) -> None:
        embree = import_extra("embreex.rtcore_scene", "Procedural rooms", extra="train")
        meshes = import_extra("embreex.mesh_construction", "Procedural rooms", extra="train")
        vertices, normals, places, faces, part = [], [], [], [], []
        self.materials: list[Material] = []
        kinds, instances, screens = [], [], []
        start = 0
        for number, item in enumerate([*room.shell, *room.items]):
            turn = rotation_about("z", item.yaw).T
            for piece in item.parts:
                vertices.append(item.to_room(piece.vertex))
                normals.append(piece.normal @ turn)
                places.append(piece.place)
                faces.append(piece.face + start)
                part.append(np.full(len(piece.face), len(self.materials)))
                screens.append(not _lets_light(item, piece.material))
                self.materials.append(piece.material)
                kinds.append(int(item.kind))
                instances.append(number)
                start += len(piece.vertex)
        vertex = np.concatenate(vertices).astype(np.float32)
        self.face = np.concatenate(faces)
        self.part = np.concatenate(part)
        self.kind = np.array(kinds, np.int16)
        self.instance = np.array(instances, np.int32)
        self._normal = np.concatenate(normals).astype(np.float32)
        self._place = np.concatenate(places).astype(np.float32)
        self._axis = _across(self._place[self.face])
        self._all = _scene(embree, meshes, vertex, self.face)
        opaque = np.array(screens)[self.part]
        self._opaque = _scene(embree, meshes, vertex, self.face[opaque])

    def first(self, origin: Floats, direction: Floats) -> Hits:
        """What rays meet first. origin, direction (of unit length): (n, 3) float32."""
        found = self._all.run(
            np.ascontiguousarray(origin), np.ascontiguousarray(direction), output=True
        )
        face = found["primID"].astype(np.int64)
        hit = face >= 0
        face = np.where(hit, face, 0)
        corners = self.face[face]
        u, v = found["u"][:, None], found["v"][:, None]
        share = (1 - u - v, u, v)
        normal = sum(self._normal[corners[:, k]] * share[k] for k in range(3))
        place = sum(self._place[corners[:, k]] * share[k] for k in range(3))
        normal /= np.maximum(length(normal)[:, None], 1e-9)
        away = dot(normal, direction) > 0
        normal[away] *= -1
        distance = np.where(hit, found["tfar"], np.float32(np.inf))
        point = origin + direction * np.where(hit, distance, 0)[:, None]
        axes = np.array([[1, 2], [0, 2], [0, 1]])[self._axis[face]]
        flat = np.take_along_axis(place, axes, axis=1)
        return Hits(hit, distance, face, point, normal, Spots(place, flat))

    def open(self, origin: Floats, direction: Floats, reach: Floats) -> NDArray[np.bool_]:
        """(n,) whether nothing opaque lies on the first `reach` (n,) metres of rays."""
        found = self._opaque.run(
            np.ascontiguousarray(origin),
            np.ascontiguousarray(direction),
            dists=np.ascontiguousarray(reach - OFF, np.float32),
            query="OCCLUDED",
        )
        return np.asarray(found < 0)

    def reach(self, origin: Floats, direction: Floats, most: float) -> Floats:
        """(n,) metres to the first opaque thing on rays; `most` where it is no nearer."""
        found: Floats = self._opaque.run(
            np.ascontiguousarray(origin),
            np.ascontiguousarray(direction),
            dists=np.full(len(origin), most, np.float32),
            query="DISTANCE",
        )
        return found

    def colors(self, hits: Hits) -> tuple[Floats, Floats, Floats]:
        """Of each hit the reflected share (n, 3), gloss (n,) and glow (n,)."""
        part = self.part[hits.face]
        order = np.argsort(part, kind="stable")
        ends = np.flatnonzero(np.diff(part[order], append=-1)) + 1
        color = np.zeros((len(part), 3), np.float32)
        gloss, glow = np.zeros(len(part), np.float32), np.zeros(len(part), np.float32)
        begin = 0
        for end in ends.tolist():
            rows = order[begin:end]
            material = self.materials[part[rows[0]]]
            spots = Spots(hits.spots.place[rows], hits.spots.flat[rows])
            color[rows] = material.texture(spots).clip(0, 1)
            gloss[rows], glow[rows] = material.gloss, material.glow
            begin = end
        return color, gloss, glow


def _scene(embree: Any, meshes: Any, vertex: Floats, face: NDArray[np.int64]) -> Any:
    scene = embree.EmbreeScene(robust=True)
    meshes.TriangleMesh(scene, vertex, face.astype(np.int32))
    return scene


def _lets_light(item: Item, material: Material) -> bool:
    """Panes, shades and bulbs do not cast shadows: light comes from or through them."""
    return material.glow > 0 or (item.kind is Kind.WINDOW and material.holes > 0)


def _across(corners: Floats) -> NDArray[np.int64]:
    """(f,) the axis of the texture's frame that each triangle (f, 3, 3) lies across."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(np.abs(normal).argmax(1))
