"""Downloads of ScanNet and ScanNet++ become scenes: classes, places and normals as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from concerto.palette import SCANNET_CLASSES
from concerto.training.prepare.card import dataset_card
from concerto.training.prepare.indoor.classes import class_list
from concerto.training.prepare.indoor.mesh import vertex_normals
from concerto.training.scenes.sources import open_scenes
from made_downloads import (
    ALIGNMENT,
    SIDE,
    corner,
    names_of,
    write_mesh,
    write_scannet_download,
    write_scannetpp_download,
)
from prepare_command import prepare

HALF = SIDE * SIDE


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


def test_the_published_segmenter_names_classes_as_the_benchmark_does() -> None:
    assert tuple(class_list("scannet20").names) == SCANNET_CLASSES


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
