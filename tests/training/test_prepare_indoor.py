"""Downloads of labelled rooms become scenes: classes, things, places and normals as they are."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from concerto.training.prepare.card import dataset_card
from concerto.training.prepare.indoor.classes import KNOWN, class_list, known_colors
from concerto.training.prepare.indoor.mesh import vertex_normals
from concerto.training.samples import Sample
from concerto.training.scenes import SceneSource, open_scenes
from made_downloads import (
    ALIGNMENT,
    SIDE,
    corner,
    structured3d_files,
    write_mesh,
    write_room,
    write_s3dis_download,
    write_scannet_download,
    write_scannetpp_download,
    write_structured3d_download,
)
from made_samples import png
from prepare_command import prepare
from recordings import COLORS, PILLAR, ROOM, distance_to_room

HALF = SIDE * SIDE


def names_of(sample: Sample, scenes: SceneSource) -> np.ndarray:
    """The name of each point's class, "" where it has none."""
    assert sample.segment is not None
    return np.array([*scenes.classes, ""])[sample.segment]


# --- classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("scannet20", 20, {1: "wall", 14: "desk", 24: "refrigerator", 39: "otherfurniture"}),
        ("scannet200", 200, {1: "wall", 2: "chair", 56: "trash can", 1191: "mattress"}),
        ("s3dis13", 13, {0: "ceiling", 4: "column", 8: "chair", 12: "clutter"}),
        ("structured3d25", 25, {1: "wall", 11: "picture", 22: "ceiling", 40: "otherprop"}),
    ],
)
def test_the_classes_of_each_benchmark_have_its_numbers_in_its_order(
    name: str, count: int, some: dict[int, str]
) -> None:
    classes = class_list(name)
    assert len(classes.names) == len(set(classes.names)) == count
    assert (np.diff(classes.ids) > 0).all()
    assert dict(zip(classes.ids.tolist(), classes.names, strict=True)).items() >= some.items()
    assert len({tuple(color) for color in classes.colors.tolist()}) == count


def test_known_classes_have_the_colours_of_their_data_set() -> None:
    assert known_colors(class_list("scannet20").names)[0].tolist() == [174, 199, 232]
    assert known_colors(class_list("scannet200").names)[-1].tolist() == [42, 94, 198]
    assert known_colors(["wall", "floor"]) is None
    assert len(KNOWN) == 4


def test_a_vertex_has_the_mean_normal_of_its_triangles_by_area() -> None:
    coord = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3], [9, 9, 9]], float)
    # A triangle of area 1/2 that faces up, and one of area 3/2 that faces along x.
    normal = vertex_normals(coord, np.array([[0, 1, 2], [0, 2, 3]]))
    np.testing.assert_allclose(normal[1], [0, 0, 1])
    np.testing.assert_allclose(normal[3], [1, 0, 0])
    np.testing.assert_allclose(normal[0], np.array([3, 0, 1]) / 10**0.5, atol=1e-6)
    np.testing.assert_array_equal(normal[4], 0)


# --- ScanNet --------------------------------------------------------------------------------------


def test_scannet_becomes_its_official_splits_with_twenty_classes(tmp_path: Path) -> None:
    source = write_scannet_download(tmp_path / "scannet")
    said = prepare("scannet", source, tmp_path / "out", "--splits", "train", "val", "test")
    assert "has no points of 17 of the 20 classes: cabinet, bed," in said
    train, val, test = (open_scenes(tmp_path / "out", split=s) for s in ("train", "val", "test"))
    assert [scene.name for scene in train] == ["scene0000_00", "scene0000_01"]
    assert [scene.name for scene in val] == ["scene0011_00"]
    assert train.classes == class_list("scannet20").names
    sample = train[0]
    names = names_of(sample, train)
    assert set(names[: HALF // 2]) == {"floor"}
    # An office chair is NYU's chair; a ceiling is none of the twenty; the rest has no annotation.
    assert set(names[HALF // 2 : HALF * 3 // 4]) == {"chair"}
    assert set(names[HALF * 3 // 4 : HALF]) == {""}
    wall = names[HALF:].reshape(SIDE, SIDE)
    assert set(wall[:, :4].ravel()) == {"wall"}
    assert set(wall[:, 4:].ravel()) == {""}
    assert sample.instance is not None
    assert sample.instance[[0, HALF // 2, HALF - 1, HALF, HALF + 7]].tolist() == [0, 2, -1, 1, 3]
    np.testing.assert_array_equal(sample.color, corner().color)
    assert test[0].name == "scene0707_00"
    assert test[0].segment is None


def test_scannets_scenes_are_turned_with_their_normals_or_left(tmp_path: Path) -> None:
    source = write_scannet_download(tmp_path / "scannet")
    prepare("scannet", source, tmp_path / "turned", "--splits", "train", "test")
    prepare("scannet", source, tmp_path / "left", "--splits", "train", "--no-align")
    coord = corner().coord
    turned = open_scenes(tmp_path / "turned")[0]
    np.testing.assert_allclose(turned.coord, coord @ ALIGNMENT[:3, :3].T + ALIGNMENT[:3, 3])
    np.testing.assert_allclose(turned.normal[:HALF], np.tile([0, 0, 1], (HALF, 1)), atol=1e-6)
    np.testing.assert_allclose(turned.normal[HALF:], np.tile([0, 1, 0], (HALF, 1)), atol=1e-6)
    left = open_scenes(tmp_path / "left")[0]
    np.testing.assert_allclose(left.coord, coord)
    np.testing.assert_allclose(left.normal[HALF:], np.tile([1, 0, 0], (HALF, 1)), atol=1e-6)
    # Scenes of the test split come without what turns them.
    np.testing.assert_allclose(open_scenes(tmp_path / "turned", split="test")[0].coord, coord)


def test_scannet200_has_its_own_classes_of_the_same_scenes(tmp_path: Path) -> None:
    source = write_scannet_download(tmp_path / "scannet")
    prepare("scannet200", source, tmp_path / "out", "--workers", 2)
    scenes = open_scenes(tmp_path / "out")
    assert len(scenes.classes) == 200
    assert set(names_of(scenes[0], scenes)) == {"floor", "wall", "office chair", "ceiling", ""}


def test_a_card_says_whose_data_it_is_and_what_its_classes_are(tmp_path: Path) -> None:
    source = write_scannet_download(tmp_path / "scannet")
    prepare("scannet", source, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: other" in card
    assert "ScanNet_TOS.pdf" in card
    assert "15 refrigerator" not in card
    assert "14 refrigerator" in card
    assert "pretrain" not in card
    prepare("scannet", source, tmp_path / "mine", "--license", "mit")
    assert "license: mit" in dataset_card(tmp_path / "mine", None)


def remove(*parts: str) -> object:
    return lambda folder: folder.joinpath(*parts).unlink()


def write(text: str, *parts: str) -> object:
    return lambda folder: folder.joinpath(*parts).write_text(text)


SCENE = ("scans", "scene0000_00")
BENCHMARK = ("metadata", "semantic_benchmark")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove("scannetv2_val.txt"), "no scannetv2_val.txt in .* Tasks/Benchmark"),
        (write("", "scannetv2_val.txt"), "The split val is empty: .*scannetv2_val.txt lists no"),
        (write("scene0000_00", "scannetv2_val.txt"), "scene0000_00 is in two splits"),
        (write("scene9999_00", "scannetv2_train.txt"), "The scene scene9999_00 is not there"),
        (remove("scannetv2-labels.combined.tsv"), "no .*labels.combined.tsv. .* --label_map"),
        (write("id\tname\n", "scannetv2-labels.combined.tsv"), "it has no nyu40id"),
        (
            write("id\traw_category\tnyu40id\n1\twall\t41\n", "scannetv2-labels.combined.tsv"),
            "has nyu40id 41 for 'wall'; expected 0 to 40",
        ),
        (
            write("id\traw_category\tnyu40id\n1\tzebra\t0\n", "scannetv2-labels.combined.tsv"),
            "names none of the classes",
        ),
        (
            write("id\traw_category\tnyu40id\n1\tzebra\t1\n", "scannetv2-labels.combined.tsv"),
            "Not one point of the split train has a class",
        ),
        (remove(*SCENE, "scene0000_00_vh_clean_2.ply"), "scene0000_00_vh_clean_2.ply"),
        (remove(*SCENE, "scene0000_00.aggregation.json"), "scene0000_00.aggregation.json"),
        (remove(*SCENE, "scene0000_00.txt"), "Cannot read .*scene0000_00.txt"),
        (write("axisAlignment = 1 2", *SCENE, "scene0000_00.txt"), "axisAlignment is no 4x4"),
        (
            write("axisAlignment = " + "2 " * 16, *SCENE, "scene0000_00.txt"),
            "axisAlignment is no rotation",
        ),
        (
            write('{"segIndices": [1, 2]}', *SCENE, "scene0000_00_vh_clean_2.0.010000.segs.json"),
            "is of 2 vertices, and the mesh has 128",
        ),
        (write("[", *SCENE, "scene0000_00.aggregation.json"), "aggregation.json is no JSON"),
        (write("{}", *SCENE, "scene0000_00.aggregation.json"), "has no list under 'segGroups'"),
        (
            write('{"segGroups": [{"id": 1}]}', *SCENE, "scene0000_00.aggregation.json"),
            "are no annotation: KeyError",
        ),
    ],
)
def test_what_is_wrong_with_a_download_of_scannet_is_named(
    spoil: object, message: str, tmp_path: Path
) -> None:
    source = write_scannet_download(tmp_path / "scannet")
    spoil(source)
    said = prepare("scannet", source, tmp_path / "out", code=1)
    assert re.search(message, said), said
    assert not (tmp_path / "out" / "train").exists()


def test_splits_without_a_name_are_refused(tmp_path: Path) -> None:
    source = write_scannet_download(tmp_path / "scannet")
    said = prepare("scannet", source, tmp_path / "out", "--splits", code=1)
    assert "No split is asked for" in said


def test_a_scene_that_cannot_be_used_is_left_out_when_asked(tmp_path: Path) -> None:
    source = write_scannet_download(tmp_path / "scannet")
    mesh = corner()
    mesh.faces[0] = 10_000
    write_mesh(source.joinpath(*SCENE, "scene0000_00_vh_clean_2.ply"), mesh)
    assert "--skip-bad" in prepare("scannet", source, tmp_path / "out", code=1)
    said = prepare("scannet", source, tmp_path / "out", "--skip-bad")
    assert "scene0000_00_vh_clean_2.ply has triangles of vertices that are not there" in said
    assert [scene.name for scene in open_scenes(tmp_path / "out")] == ["scene0000_01"]


def test_labels_that_the_table_lacks_are_told_and_have_no_class(tmp_path: Path) -> None:
    source = write_scannet_download(tmp_path / "scannet")
    file = source.joinpath(*SCENE, "scene0000_00.aggregation.json")
    file.write_text(file.read_text().replace("office chair", "gramophone"))
    assert "labels that the table of labels lacks: gramophone" in prepare(
        "scannet", source, tmp_path / "out"
    )
    scenes = open_scenes(tmp_path / "out")
    assert set(names_of(scenes[0], scenes)) == {"floor", "wall", ""}


# --- ScanNet++ ------------------------------------------------------------------------------------


def test_scannetpp_has_the_classes_of_its_metadata_and_the_smallest_of_things(
    tmp_path: Path,
) -> None:
    source = write_scannetpp_download(tmp_path / "scannetpp")
    prepare("scannetpp", source, tmp_path / "out", "--splits", "train", "val", "test")
    scenes = open_scenes(tmp_path / "out")
    assert scenes.classes == ("wall", "ceiling", "floor", "book", "carpet", "office chair")
    sample = scenes[0]
    assert sample.name == "036bce3393"
    names = names_of(sample, scenes)
    quarters = [set(part) for part in np.split(names[:HALF], 4)]
    assert quarters == [{"floor"}, {"book"}, {"carpet"}, {""}]
    assert set(names[HALF:]) == {"wall", ""}
    assert sample.instance is not None
    assert sorted(set(sample.instance.tolist())) == [-1, 4, 6, 9, 12]
    np.testing.assert_allclose(sample.normal[HALF:], np.tile([1, 0, 0], (HALF, 1)), atol=1e-6)
    assert open_scenes(tmp_path / "out", split="test")[0].segment is None


def test_only_the_first_three_things_of_a_vertex_count(tmp_path: Path) -> None:
    source = write_scannetpp_download(tmp_path / "scannetpp")
    file = source / "data" / "036bce3393" / "scans" / "segments_anno.json"
    content = json.loads(file.read_text())
    # Three things of the whole floor come before the book, which then has no place.
    content["segGroups"][:0] = [content["segGroups"][0]] * 2
    file.write_text(json.dumps(content))
    prepare("scannetpp", source, tmp_path / "out")
    scenes = open_scenes(tmp_path / "out")
    assert set(names_of(scenes[0], scenes)[:HALF]) == {"floor", "carpet", ""} - {"carpet"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove("splits", "nvs_sem_train.txt"), "There is no nvs_sem_train.txt in"),
        (remove(*BENCHMARK, "top100.txt"), "top100.txt"),
        (write("", *BENCHMARK, "top100.txt"), "lists no classes"),
        (
            write("wall\nwall\n", *BENCHMARK, "top100.txt"),
            "wall more than once",
        ),
        (
            write("class,count\n", *BENCHMARK, "map_benchmark.csv"),
            "no column semantic_map_to",
        ),
        (
            write(
                "class,semantic_map_to\na,b\n",
                "metadata",
                "semantic_benchmark",
                "map_benchmark.csv",
            ),
            "leads to none of the classes",
        ),
        (remove("data", "036bce3393", "scans", "segments.json"), "036bce3393/scans/segments.json"),
    ],
)
def test_what_is_wrong_with_a_download_of_scannetpp_is_named(
    spoil: object, message: str, tmp_path: Path
) -> None:
    source = write_scannetpp_download(tmp_path / "scannetpp")
    spoil(source)
    assert message in prepare("scannetpp", source, tmp_path / "out", code=1)


# --- S3DIS ----------------------------------------------------------------------------------------


def test_s3dis_becomes_rooms_with_area_five_for_validation(tmp_path: Path) -> None:
    source = write_s3dis_download(tmp_path / "Stanford3dDataset_v1.2_Aligned_Version")
    prepare("s3dis", source, tmp_path / "out")
    train, val = open_scenes(tmp_path / "out"), open_scenes(tmp_path / "out", split="val")
    names = ["Area_1_hallway_2", *(f"Area_{area}_office_1" for area in (1, 2, 3, 4, 6))]
    assert [scene.name for scene in train] == names
    assert [scene.name for scene in val] == ["Area_5_office_1"]
    sample = val[0]
    assert len(sample.coord) == 150 + 140 + 60 + 50
    classes = names_of(sample, val)
    np.testing.assert_allclose(sample.coord[classes == "floor", 2], 0)
    np.testing.assert_allclose(sample.coord[classes == "ceiling", 2], 3)
    assert set(sample.color[classes == "chair", 0]) == {50, 60}
    assert sample.instance is not None
    assert len(set(sample.instance[classes == "chair"])) == 2
    # Normals face the inside of the room.
    assert np.mean(sample.normal[classes == "floor", 2]) > 0.9
    assert np.mean(sample.normal[classes == "ceiling", 2]) < -0.9


def test_s3dis_may_be_validated_on_another_area(tmp_path: Path) -> None:
    source = write_s3dis_download(tmp_path / "aligned")
    prepare("s3dis", source, tmp_path / "out", "--val-area", 1)
    val = open_scenes(tmp_path / "out", split="val")
    assert [scene.name for scene in val] == ["Area_1_hallway_2", "Area_1_office_1"]
    assert len(open_scenes(tmp_path / "out")) == 5


def test_rooms_of_the_release_that_is_not_aligned_are_turned_clockwise(tmp_path: Path) -> None:
    source = write_s3dis_download(tmp_path / "Stanford3dDataset_v1.2")
    prepare("s3dis", source, tmp_path / "turned")
    prepare("s3dis", source, tmp_path / "left", "--align", "no")
    turned, left = open_scenes(tmp_path / "turned")[1], open_scenes(tmp_path / "left")[1]
    assert turned.name == left.name == "Area_1_office_1"
    middle = (left.coord.min(0) + left.coord.max(0)) / 2
    x, y, z = (left.coord - middle).T
    np.testing.assert_allclose(turned.coord - middle, np.stack([y, -x, z], axis=1), atol=1e-5)


def test_stray_bytes_stairs_and_unknown_things_of_s3dis_are_met(tmp_path: Path) -> None:
    source = write_s3dis_download(tmp_path / "aligned")
    extra = {"stairs_1": ["1 1 1 5 5 5"], "lift_1": ["1 1 2 6 6 6"]}
    write_room(source / "Area_5" / "hallway_6", extra)
    annotations = source / "Area_5" / "hallway_6" / "Annotations"
    # As in two files of the release: a byte instead of a space, and of a digit.
    (annotations / "wall_1.txt").write_bytes(b"1 1 1 185\x10187 7\n2 2 2 9 9 9\n")
    (annotations / "wall_2.txt").write_bytes(b"1.0 1.0 1.0 5 103.0\x100000 7\n")
    (annotations / "._wall_1.txt").write_bytes(b"\x00\x05\x16\x07")
    said = prepare("s3dis", source, tmp_path / "out")
    assert "lift_1.txt: 'lift' is none of the classes, and counts as clutter" in said
    assert "'stairs'" not in said
    val = open_scenes(tmp_path / "out", split="val")
    sample, classes = val[0], names_of(val[0], val)
    assert sample.name == "Area_5_hallway_6"
    assert sample.color[classes == "wall"].tolist() == [[185, 187, 7], [9, 9, 9], [5, 103, 7]]
    assert sample.color[classes == "clutter"].tolist() == [[6, 6, 6], [5, 5, 5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 2 3 4 5\n", "floor_1.txt has (1, 5) numbers; expected rows of x y z r g b"),
        (b"1 2 3 4 5 x\n", "floor_1.txt is no list of x y z r g b"),
        (b"1 2 3 4 5 600\n", "floor_1.txt has colours from 4 to 600"),
        (b"", "floor_1.txt"),
    ],
)
def test_a_file_of_s3dis_that_is_no_list_of_points_is_named(
    content: bytes, message: str, tmp_path: Path
) -> None:
    source = write_s3dis_download(tmp_path / "aligned")
    (source / "Area_2" / "office_1" / "Annotations" / "floor_1.txt").write_bytes(content)
    assert message in prepare("s3dis", source, tmp_path / "out", code=1)


def test_an_area_or_an_angle_that_s3dis_lacks_is_named(tmp_path: Path) -> None:
    source = write_s3dis_download(tmp_path / "s3dis")
    (source / "Area_3" / "Area_3_alignmentAngle.txt").write_text("## nothing\n")
    said = prepare("s3dis", source, tmp_path / "out", code=1)
    assert "Area_3_alignmentAngle.txt" in said
    assert "has no angle of office_1" in said
    (source / "Area_4").rename(source / "elsewhere")
    assert "Area_4 has no rooms" in prepare(
        "s3dis", source, tmp_path / "out", "--align", "no", code=1
    )


# --- Structured3D ---------------------------------------------------------------------------------


def check_room(sample: Sample, scenes: SceneSource) -> None:
    """Points lie on the room's sides, with their colours, classes and normals."""
    assert distance_to_room(sample.coord).max() < 0.004
    names = names_of(sample, scenes)
    at = {name: sample.coord[names == name] for name in scenes.classes}
    np.testing.assert_allclose(at["floor"][:, 2], ROOM[0, 2], atol=0.004)
    np.testing.assert_allclose(at["ceiling"][:, 2], ROOM[1, 2], atol=0.004)
    np.testing.assert_allclose(at["window"][:, 1], ROOM[1, 1], atol=0.004)
    inside = (at["lamp"] > PILLAR[0] - 0.004) & (at["lamp"] < PILLAR[1] + 0.004)
    assert len(at["lamp"]) > 20
    assert inside.all()
    # The bookshelf is not evaluated.
    np.testing.assert_allclose(sample.coord[names == "", 0], ROOM[0, 0], atol=0.004)
    assert (sample.color[names == "window"] == COLORS[4]).all()
    # Beside edges, a normal is of two surfaces.
    facing = {"floor": [0, 0, 1], "ceiling": [0, 0, -1], "window": [0, -1, 0]}
    for name, normal in facing.items() if len(at["ceiling"]) else ():
        assert np.mean(sample.normal[names == name] @ normal > 0.99) > 0.9


@pytest.mark.parametrize("views", ["all", "panorama", "perspective"])
def test_structured3ds_views_become_a_room_that_agrees_with_all_of_them(
    views: str, tmp_path: Path
) -> None:
    source = write_structured3d_download(tmp_path / "archives")
    prepare("structured3d", source, tmp_path / "out", "--views", views, "--splits", "train")
    scenes = open_scenes(tmp_path / "out")
    # A scene of the errata is left out.
    wanted = ["scene_00000_room_485142", "scene_00000_room_490854", "scene_02999_room_2"]
    assert [scene.name for scene in scenes] == wanted
    check_room(scenes[0], scenes)
    assert scenes[0].instance is None
    cells = np.floor(scenes[0].coord.astype(np.float64) / 0.01).astype(int)
    assert len(np.unique(cells, axis=0)) > 0.99 * len(cells)


def test_structured3d_has_its_official_splits_and_may_be_unpacked(tmp_path: Path) -> None:
    source = write_structured3d_download(tmp_path / "archives")
    prepare("structured3d", source, tmp_path / "out", "--splits", "train", "val", "test")
    for archive in source.glob("*.zip"):
        zipfile.ZipFile(archive).extractall(tmp_path / "unpacked")
    prepare("structured3d", tmp_path / "unpacked", tmp_path / "other", "--workers", 2)
    for split, name in (("val", "scene_03000_room_3"), ("test", "scene_03250_room_4")):
        assert [scene.name for scene in open_scenes(tmp_path / "out", split=split)] == [name]
    for one, other in zip(
        open_scenes(tmp_path / "out"), open_scenes(tmp_path / "other"), strict=True
    ):
        np.testing.assert_array_equal(one.coord, other.coord)
        np.testing.assert_array_equal(one.segment, other.segment)


def test_larger_voxels_give_fewer_points(tmp_path: Path) -> None:
    source = write_structured3d_download(tmp_path / "archives")
    counts = []
    for size in (0.01, 0.2):
        out = tmp_path / str(size)
        prepare("structured3d", source, out, "--splits", "val", "--voxel-size", size)
        counts.append(len(open_scenes(out, split="val")[0].coord))
    assert counts[1] < 0.2 * counts[0]
    said = prepare("structured3d", source, tmp_path / "o", "--voxel-size", 0, code=1)
    assert "voxel_size is 0; it must be over 0" in said


def test_a_view_that_lacks_an_image_is_left_out_and_told(tmp_path: Path) -> None:
    files = structured3d_files(0, "7")
    del files["Structured3D/scene_00000/2D_rendering/7/perspective/full/1/semantic.png"]
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    said = prepare("structured3d", tmp_path, tmp_path / "out", "--splits", "train")
    assert "perspective/full/1 has no semantic.png; left out" in said
    scenes = open_scenes(tmp_path / "out")
    check_room(scenes[0], scenes)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("panorama/full/depth.png", b"?", "7/panorama/depth.png"),
        ("panorama/camera_xyz.txt", b"1 2", "7/panorama: the camera's file has 2 numbers"),
        ("perspective/full/0/camera_pose.txt", b"0 " * 11, "perspective/full/0: the camera has no"),
        ("perspective/full/0/camera_pose.txt", b"a b", "camera's file holds no numbers"),
        ("perspective/full/0/semantic.png", "rgb", "semantic.png is uint8 of shape"),
        ("perspective/full/0/semantic.png", 41, "has label 41 at"),
        ("perspective/full/0/semantic.png", "small", "the images differ in size"),
    ],
)
def test_what_is_wrong_with_a_view_is_named(
    name: str, content: bytes | str | int, message: str, tmp_path: Path
) -> None:
    files = structured3d_files(0, "7")
    if content == "rgb":
        content = png(np.zeros((72, 96, 3)))
    elif content == "small":
        content = png(np.ones((9, 9)))
    elif isinstance(content, int):
        content = png(np.full((72, 96), content))
    files[f"Structured3D/scene_00000/2D_rendering/7/{name}"] = content
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path, stored in files.items():
            archive.writestr(path, stored)
    said = prepare("structured3d", tmp_path, tmp_path / "out", "--splits", "train", code=1)
    assert message in said


def test_a_folder_without_rooms_or_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = prepare("structured3d", tmp_path / "empty", tmp_path / "out", code=1)
    assert "has no rooms: neither archives of Structured3D" in said
    (tmp_path / "empty" / "a.zip").write_bytes(b"PK")
    said = prepare("structured3d", tmp_path / "empty", tmp_path / "out", code=1)
    assert "a.zip is no archive, or is damaged" in said
    source = write_structured3d_download(tmp_path / "archives")
    (source / "Structured3D_panorama_00.zip").unlink()
    said = prepare("structured3d", source, tmp_path / "out", "--views", "panorama", code=1)
    assert "2D_rendering/ROOM with panorama" in said
