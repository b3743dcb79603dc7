"""S3DIS becomes scenes: rooms, classes, things, and directions as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from concerto.training.scenes.sources import open_scenes
from made_downloads import (
    names_of,
    write_room,
    write_s3dis_download,
)
from prepare_command import prepare


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
