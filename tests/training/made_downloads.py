"""Downloads of labelled data sets in small: the files and formats that they truly have."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from plyfile import PlyData, PlyElement

from concerto.lifting.frame import Frame, Intrinsics
from concerto.training.scenes.samples import Sample
from concerto.training.scenes.sources import SceneSource
from recordings import COLORS, PILLAR, PILLAR_COLOR, ROOM, VIEWS, View, record


def names_of(sample: Sample, scenes: SceneSource) -> np.ndarray:
    """The name of each point's class, "" where it has none."""
    assert sample.segment is not None
    return np.array([*scenes.classes, ""])[sample.segment]


# --- a mesh of a floor and a wall -----------------------------------------------------------------

SIDE = 8
STEP = 0.25


@dataclass(frozen=True)
class Corner:
    """A floor, z = 0, then a wall, x = 0: SIDE² vertices each, grey and blue; faces inwards."""

    coord: np.ndarray
    color: np.ndarray
    faces: np.ndarray


def corner() -> Corner:
    a, b = (axis.ravel() * STEP for axis in np.indices((SIDE, SIDE)))
    floor = np.stack([a, b, np.zeros_like(a)], axis=1)
    wall = np.stack([np.zeros_like(a), a, b], axis=1)
    at = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    quads = at[:-1, :-1].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel(), at[:-1, 1:].ravel()
    triangles = np.concatenate(
        [np.stack([quads[k] for k in corners], axis=1) for corners in ((0, 1, 2), (0, 2, 3))]
    )
    color = np.repeat([[90, 91, 92], [10, 20, 200]], SIDE * SIDE, axis=0)
    return Corner(
        np.concatenate([floor, wall]), color, np.concatenate([triangles, triangles + SIDE * SIDE])
    )


def write_mesh(
    file: Path, mesh: Corner, alpha: bool = True, corners: str = "vertex_indices"
) -> None:
    """Binary PLY, as ScanNet has it."""
    kinds = [(name, "f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    vertex = np.zeros(len(mesh.coord), [*kinds, ("alpha", "u1")] if alpha else kinds)
    for name, column in zip(vertex.dtype.names, [*mesh.coord.T, *mesh.color.T], strict=False):
        vertex[name] = column
    face = np.empty(len(mesh.faces), [("vertex_indices", "i4", (3,))])
    face["vertex_indices"] = mesh.faces
    elements = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]
    file.parent.mkdir(parents=True, exist_ok=True)
    PlyData(elements, byte_order="<").write(str(file))


def group(number: int, label: str, segments: list[int]) -> dict[str, object]:
    return {"id": number, "objectId": number, "segments": segments, "label": label}


# Of the floor: its rows, two a segment; segment 40 is the wall's lower half, 41 its upper one.
SEGMENTS = [*np.repeat([3, 7, 11, 15], 2 * SIDE).tolist(), *np.tile([40] * 4 + [41] * 4, SIDE)]

# --- ScanNet --------------------------------------------------------------------------------------

ALIGNMENT = np.array([[0, -1, 0, 3], [1, 0, 0, -2], [0, 0, 1, 0.5], [0, 0, 0, 1]], float)
SCANNET_GROUPS = [
    group(0, "floor", [3, 7]),
    group(1, "wall", [40]),
    group(2, "office chair", [11]),
    group(3, "ceiling", [41]),
]
# Rows of ScanNet's table: id, raw_category, category, nyu40id.
SCANNET_LABELS = [
    (1, "wall", "wall", 1),
    (2, "chair", "chair", 5),
    (3, "floor", "floor", 2),
    (10, "office chair", "office chair", 5),
    (41, "ceiling", "ceiling", 22),
    (1357, 'hand drawn "sign', "sign", 40),
]


def write_scannet_scene(folder: Path, labelled: bool = True) -> None:
    """A scene of scans/ or scans_test/."""
    name = folder.name
    write_mesh(folder / f"{name}_vh_clean_2.ply", corner())
    numbers = " ".join(f"{value:.6f}" for value in ALIGNMENT.ravel())
    lines = [f"axisAlignment = {numbers} "] if labelled else []
    (folder / f"{name}.txt").write_text(
        "\n".join([*lines, "colorHeight = 968", "sceneType = Lobby"])
    )
    if labelled:
        segments = {"params": {}, "sceneId": name, "segIndices": list(map(int, SEGMENTS))}
        (folder / f"{name}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(segments))
        things = {"sceneId": name, "appId": "a", "segGroups": SCANNET_GROUPS, "segmentsFile": "s"}
        (folder / f"{name}.aggregation.json").write_text(json.dumps(things))


def write_scannet_download(folder: Path) -> Path:
    """Two scenes to train with, one to validate, one to test, with the lists of splits."""
    for name in ("scene0000_00", "scene0000_01", "scene0011_00"):
        write_scannet_scene(folder / "scans" / name)
    write_scannet_scene(folder / "scans_test" / "scene0707_00", labelled=False)
    lists = {
        "train": "scene0000_00\nscene0000_01\n",
        "val": "scene0011_00\n",
        "test": "scene0707_00",
    }
    for split, scenes in lists.items():
        (folder / f"scannetv2_{split}.txt").write_text(scenes)
    head = "id\traw_category\tcategory\tcount\tnyu40id\teigen13id\tnyuClass\n"
    rows = [f"{n}\t{raw}\t{name}\t9\t{nyu}\t0\t{name}\n" for n, raw, name, nyu in SCANNET_LABELS]
    (folder / "scannetv2-labels.combined.tsv").write_text(head + "".join(rows))
    return folder


# --- ScanNet++ ------------------------------------------------------------------------------------

# A vertex of segment 7 is of the floor, the rug and the book; the smallest thing is its class.
SCANNETPP_GROUPS = [
    group(4, "floor", [3, 7, 11]),
    group(6, "rug", [7, 11]),
    group(9, "paperback", [7]),
    group(11, "REMOVE", [15]),
    group(12, "wall", [40]),
    group(13, "a label of its own", [41]),
]


def write_scannetpp_download(folder: Path) -> Path:
    """One scene a split."""
    splits = {"nvs_sem_train": "036bce3393", "nvs_sem_val": "0a5c013435", "sem_test": "0cf2e9402d"}
    (folder / "splits").mkdir(parents=True)
    for split, name in splits.items():
        (folder / "splits" / f"{split}.txt").write_text(f"{name}\n")
        scans = folder / "data" / name / "scans"
        write_mesh(scans / "mesh_aligned_0.05.ply", corner(), alpha=False)
        if split != "sem_test":
            segments = {"sceneId": name, "segIndices": list(map(int, SEGMENTS))}
            (scans / "segments.json").write_text(json.dumps(segments))
            things = {"sceneId": name, "segGroups": SCANNETPP_GROUPS}
            (scans / "segments_anno.json").write_text(json.dumps(things))
    metadata = folder / "metadata" / "semantic_benchmark"
    metadata.mkdir(parents=True)
    (metadata / "top100.txt").write_text("wall\nceiling\nfloor\nbook\ncarpet\noffice chair\n")
    lines = ["class,count,instance_map_to,semantic_map_to", "wall,9,None,", "floor,9,None,"]
    lines += ["rug,5,carpet,carpet", "paperback,2,book,book", "REMOVE,9,None,None", "book,3,,"]
    lines += ["a label of its own,1,,"]
    (metadata / "map_benchmark.csv").write_text("\n".join(lines))
    return folder


# --- S3DIS ----------------------------------------------------------------------------------------


def thing_lines(
    low: tuple[float, ...], high: tuple[float, ...], color: int, count: int
) -> list[str]:
    """A line a point of a box's inside: x y z r g b."""
    random = np.random.default_rng(count)
    coord = random.uniform(low, high, (count, 3))
    return ["{:.3f} {:.3f} {:.3f} {} {} {}".format(*at, color, 128, 0) for at in coord]


def write_room(folder: Path, extra: dict[str, list[str]] | None = None) -> None:
    """A room of 4 x 2 x 3 m with a floor, a ceiling and two chairs."""
    things = {
        "floor_1": thing_lines((0, 0, 0), (4, 2, 0), 100, 150),
        "ceiling_1": thing_lines((0, 0, 3), (4, 2, 3), 200, 140),
        "chair_1": thing_lines((1, 1, 0), (1.5, 1.5, 1), 50, 60),
        "chair_2": thing_lines((3, 1, 0), (3.5, 1.5, 1), 60, 50),
    } | (extra or {})
    annotations = folder / "Annotations"
    annotations.mkdir(parents=True)
    for name, lines in things.items():
        (annotations / f"{name}.txt").write_text("\n".join(lines) + "\n")
    lines = [line for thing in things.values() for line in thing]
    (folder / f"{folder.name}.txt").write_text("\n".join(lines) + "\n")
    (annotations / "Icon\r").write_bytes(b"")


def write_s3dis_download(folder: Path) -> Path:
    """A room an area, two in Area_1."""
    for area in range(1, 7):
        rooms = {"office_1": 90, "hallway_2": 0} if area == 1 else {"office_1": 0}
        home = folder / f"Area_{area}"
        for room in rooms:
            write_room(home / room)
        head = [f"## Global alignment angle per disjoint space in Area_{area} ##"]
        head += ["## Disjoint Space Name Global Alignment Angle ##"]
        lines = [f"{room} {angle}" for room, angle in rooms.items()]
        (home / f"Area_{area}_alignmentAngle.txt").write_text("\n".join([*head, *lines]) + "\n")
    return folder


# --- Structured3D ---------------------------------------------------------------------------------

# NYU's numbers of the sides low x, y, z, high x, y, z, and of the pillar: a bookshelf, which is
# none of the 25 classes, walls, the floor, a window, the ceiling, and a lamp.
SIDES = np.array([10, 1, 2, 1, 9, 22], np.uint8)
LAMP = 35
PANORAMA = (64, 128)


def labels_of(color: np.ndarray) -> np.ndarray:
    """(h, w) uint8 of a picture of the room, by its colours."""
    labels = np.full(color.shape[:2], LAMP, np.uint8)
    for side, number in zip(COLORS, SIDES, strict=True):
        labels[(color == side).all(-1)] = number
    return labels


def panorama_of_room(eye: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour (h, w, 3) and distance (h, w): +y in the middle, +x to the right of it."""
    height, width = PANORAMA
    rows, columns = np.indices(PANORAMA)
    across, up = (columns / width - 0.5) * 2 * np.pi, (0.5 - rows / height) * np.pi
    rays = np.stack([np.sin(across) * np.cos(up), np.cos(across) * np.cos(up), np.sin(up)], -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = np.moveaxis((ROOM[:, None, None] - eye) / rays, 0, -2).reshape(*PANORAMA, 6)
        slabs = (PILLAR[:, None, None] - eye) / rays
    walls[~(walls > 0)] = np.inf
    depth, color = walls.min(-1), COLORS[walls.argmin(-1)]
    enter, leave = np.nanmax(slabs.min(0), -1), np.nanmin(slabs.max(0), -1)
    hit = (enter < leave) & (enter > 0) & (enter < depth)
    return np.where(hit[..., None], PILLAR_COLOR, color), np.where(hit, enter, depth)


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    if pixels.dtype == np.uint8 and pixels.ndim == 2:
        image = image.convert("P")
        image = Image.frombytes("P", image.size, pixels.tobytes())
        image.putpalette(list(range(256)) * 3)
    image.save(stream, "PNG")
    return stream.getvalue()


def _images(color: np.ndarray, depth: np.ndarray) -> dict[str, bytes]:
    rgba = np.concatenate([color, np.full((*color.shape[:2], 1), 255, np.uint8)], axis=-1)
    return {
        "rgb_rawlight.png": _png(rgba),
        "depth.png": _png((depth * 1000).round().astype(np.uint16)),
        "semantic.png": _png(labels_of(color)),
    }


def _perspective(view: View) -> tuple[Frame, str]:
    """A frame, and the line of its camera_pose.txt."""
    camera = Intrinsics(70.0, 70.0, 48.0, 36.0)
    frame = record(view, camera=camera)
    sight, up = frame.pose[:3, 2], -frame.pose[:3, 1]
    angles = np.arctan([48 / 70, 36 / 70])
    place = np.array(view.eye) * 1000
    return frame, " ".join(f"{value:.6f}" for value in (*place, *sight, *up, *angles, 1))


def structured3d_files(scene: int, room: str) -> dict[str, bytes]:
    """The files of a room by their paths in the archives: a panorama and two perspective views."""
    home = f"Structured3D/scene_{scene:05d}/2D_rendering/{room}"
    files = {f"Structured3D/scene_{scene:05d}/annotation_3d.json": b"{}"}
    eye = np.array([1.0, 0.9, 1.4])
    color, depth = panorama_of_room(eye)
    for furniture in ("full", "empty"):
        # Unfurnished panoramas are of nothing here, so that it shows where one is read.
        images = _images(color, depth if furniture == "full" else np.full_like(depth, 9.0))
        files |= {f"{home}/panorama/{furniture}/{name}": image for name, image in images.items()}
    place = " ".join(map(str, eye * 1000))
    files[f"{home}/panorama/camera_xyz.txt"] = place.encode()
    files[f"{home}/panorama/layout.txt"] = b"0 0\n"
    for number, view in enumerate((VIEWS[0], VIEWS[3])):
        frame, pose = _perspective(view)
        folder = f"{home}/perspective/full/{number}"
        images = _images(frame.color, frame.depth)
        files |= {f"{folder}/{name}": image for name, image in images.items()}
        files[f"{folder}/camera_pose.txt"] = pose.encode()
        files[f"{folder}/instance.png"] = b"not read"
    return files


def write_structured3d_download(folder: Path) -> Path:
    """Archives as they are downloaded: panoramas and perspective views apart."""
    folder.mkdir(parents=True)
    rooms = [(0, "485142"), (0, "490854"), (1155, "1"), (2999, "2"), (3000, "3"), (3250, "4")]
    files = {path: file for room in rooms for path, file in structured3d_files(*room).items()}
    for kind in ("panorama", "perspective_full"):
        with zipfile.ZipFile(folder / f"Structured3D_{kind}_00.zip", "w") as archive:
            for path, content in files.items():
                if f"/{kind.split('_')[0]}/" in path:
                    archive.writestr(path, content)
    return folder
