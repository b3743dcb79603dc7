"""A folder of scans with a field of labels becomes labelled scenes."""

from __future__ import annotations

import re
from pathlib import Path

import laspy
import numpy as np
import pypcd4
import pytest
from huggingface_hub import DatasetCard
from plyfile import PlyData, PlyElement

from concerto.errors import InputError
from concerto.io import read_scalars
from concerto.training.prepare.label_map import read_label_map
from concerto.training.scenes.check_sample import check_sample
from concerto.training.scenes.sources import open_scenes
from prepare_command import prepare

MAP = "2 ground\n# trees\n5, tall plant\n3 tall plant\n6 building\n7\n"
LABELS = np.array([2, 5, 3, 7, 6, 2, 2, 5] * 10, np.int32)


def points(seed: int = 0) -> np.ndarray:
    """(80, 3): on a slope, so that normals are known."""
    coord = np.random.default_rng(seed).uniform(0, 4, (len(LABELS), 3))
    coord[:, 2] = 0.5 * coord[:, 0]
    return coord


def write_ply(
    file: Path,
    labels: np.ndarray = LABELS,
    field: str = "label",
    text: bool = False,
    **more: object,
) -> Path:
    columns = dict(zip("xyz", points().astype(np.float32).T, strict=True))
    columns |= {
        "red": np.full(len(labels), 7, np.uint8),
        "green": np.full(len(labels), 8, np.uint8),
    }
    columns |= {"blue": np.full(len(labels), 9, np.uint8), field: labels, **more}
    vertex = np.empty(len(labels), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        vertex[name] = column
    file.parent.mkdir(parents=True, exist_ok=True)
    PlyData([PlyElement.describe(vertex, "vertex")], text=text).write(str(file))
    return file


def write_las(file: Path, labels: np.ndarray = LABELS) -> Path:
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), np.array([500_000.0, 5_400_000.0, 200.0])
    las = laspy.LasData(header)
    las.x, las.y, las.z = (points() + header.offsets).T
    las.classification = labels
    file.parent.mkdir(parents=True, exist_ok=True)
    las.write(str(file))
    return file


def write_pcd(file: Path, labels: np.ndarray = LABELS) -> Path:
    columns = [*points().astype(np.float32).T, labels.astype(np.uint32)]
    cloud = pypcd4.PointCloud.from_points(
        columns, ["x", "y", "z", "label"], [column.dtype for column in columns]
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    cloud.save(file)
    return file


def write_map(folder: Path, text: str = MAP, name: str = "labels.txt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


WANTED = np.array([0, 1, 1, -1, 2, 0, 0, 1] * 10)


def test_scans_become_scenes_with_the_classes_of_the_map(tmp_path: Path) -> None:
    for name in ("a", "b", "sub/c"):
        write_ply(tmp_path / "scans" / f"{name}.ply")
    label_map = write_map(tmp_path)
    prepare("labelled", tmp_path / "scans", tmp_path / "out", "--label-map", label_map)
    train, val = open_scenes(tmp_path / "out"), open_scenes(tmp_path / "out", split="val")
    assert sorted(scene.name for scenes in (train, val) for scene in scenes) == ["a", "b", "sub/c"]
    assert train.classes == ("ground", "tall plant", "building")
    sample = train[0]
    np.testing.assert_array_equal(sample.segment, WANTED)
    assert sample.instance is None
    np.testing.assert_allclose(sample.coord, points(), atol=1e-6)
    assert set(map(tuple, sample.color.tolist())) == {(7, 8, 9)}


@pytest.mark.parametrize(
    ("options", "sign", "told"),
    [
        ((), 0, "normals those of the scans, scale"),
        (("--normals", 20), 1, "normals of 20 neighbours where a scan has none, scale"),
        (
            ("--normals", 20, "--viewpoint", 1, 2, -30),
            -1,
            "normals of 20 neighbours where a scan has none, facing 1 2 -30, scale",
        ),
    ],
)
def test_scans_without_normals_have_zeros_as_in_use_unless_they_are_to_be_estimated(
    options: tuple[object, ...], sign: int, told: str, tmp_path: Path
) -> None:
    write_ply(tmp_path / "scans" / "a.ply")
    common = ("--label-map", write_map(tmp_path), "--val-share", 0)
    prepare("labelled", tmp_path / "scans", tmp_path / "out", *common, *options)
    [sample] = open_scenes(tmp_path / "out")
    up = sign * np.array([-0.5, 0, 1]) / np.hypot(0.5, 1)
    np.testing.assert_allclose(sample.normal, np.tile(up, (len(LABELS), 1)), atol=0.01)
    assert told in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_normals_of_a_scan_stay_where_others_are_estimated(tmp_path: Path) -> None:
    along = {"nx": 1, "ny": 0, "nz": 0}
    own = {name: np.full(len(LABELS), value, np.float32) for name, value in along.items()}
    write_ply(tmp_path / "scans" / "a.ply", **own)
    options = ("--label-map", write_map(tmp_path), "--val-share", 0, "--normals", 20)
    prepare("labelled", tmp_path / "scans", tmp_path / "out", *options)
    [sample] = open_scenes(tmp_path / "out")
    np.testing.assert_array_equal(sample.normal, np.tile([1, 0, 0], (len(LABELS), 1)))


@pytest.mark.parametrize("normals", [(), ("--normals", 20)])
def test_points_that_are_nowhere_are_left_out_with_their_labels(
    normals: tuple[object, ...], tmp_path: Path
) -> None:
    nowhere = np.zeros(len(LABELS), bool)
    nowhere[[0, 3, 40]] = True
    labels = np.where(nowhere, 99, LABELS)  # a number that the map lacks
    things = np.where(nowhere, 5, 7 + np.arange(len(LABELS)) % 2).astype(np.int32)
    xyz = points().astype(np.float32)
    xyz[nowhere] = [np.nan, np.inf, -np.inf]
    where = dict(zip("xyz", xyz.T, strict=True))
    file = write_ply(tmp_path / "scans" / "a.ply", labels, thing=things, **where)
    options = ("--label-map", write_map(tmp_path), "--val-share", 0, "--instance", "thing")
    said = prepare("labelled", tmp_path / "scans", tmp_path / "out", *options, *normals)
    assert f"warning: {file}: 3 of 80 points have NaN or infinite coordinates" in said
    [sample] = open_scenes(tmp_path / "out")
    np.testing.assert_array_equal(sample.coord, xyz[~nowhere])
    np.testing.assert_array_equal(sample.segment, WANTED[~nowhere])
    np.testing.assert_array_equal(sample.instance, things[~nowhere] - 7)
    write_ply(file, labels, x=np.full(len(LABELS), np.nan, np.float32))
    said = prepare("labelled", tmp_path / "scans", tmp_path / "none", *options[:4], code=1)
    assert f"error: {file}: None of the 80 points has finite coordinates." in said


def test_colours_in_doubt_ask_for_their_range_and_take_it(tmp_path: Path) -> None:
    doubtful = {name: np.full(80, 1.5, np.float32) for name in ("red", "green", "blue")}
    file = write_ply(tmp_path / "scans" / "a.ply", **doubtful)
    options = ("--label-map", write_map(tmp_path), "--val-share", 0)
    said = prepare("labelled", tmp_path / "scans", tmp_path / "out", *options, code=1)
    assert re.search(rf"error: {file}: color lies in .* black and white: --color-range 0 255", said)
    options = (*options, "--color-range", 0, 3)
    prepare("labelled", tmp_path / "scans", tmp_path / "out", *options)
    [sample] = open_scenes(tmp_path / "out")
    assert (sample.color == 128).all()


def test_a_tile_too_wide_for_rooms_is_written_with_a_warning(tmp_path: Path) -> None:
    """Outdoors voxels are of 5 cm; which encoder it is for is known in training alone."""
    wide = np.linspace(0, 1000, len(LABELS)).astype(np.float32)
    write_ply(tmp_path / "scans" / "a.ply", x=wide)
    options = ("--label-map", write_map(tmp_path), "--val-share", 0)
    said = prepare("labelled", tmp_path / "scans", tmp_path / "out", *options)
    assert "warning: a spans 1000 m, too far for encoders with voxels of 0.02 m" in said
    [sample] = open_scenes(tmp_path / "out")
    check_sample(sample, 0.05, patches=1)
    with pytest.raises(InputError, match="'a' spans 1000 m; at most 655"):
        check_sample(sample, 0.02, patches=1)


@pytest.mark.parametrize("write", [write_las, write_pcd])
def test_las_and_pcd_are_read_too_and_map_coordinates_are_moved(
    write: object, tmp_path: Path
) -> None:
    write(tmp_path / "scans" / f"a.{write.__name__[-3:]}")
    field = "classification" if write is write_las else "label"
    options = ("--label", field, "--label-map", write_map(tmp_path), "--val-share", 0)
    prepare("labelled", tmp_path / "scans", tmp_path / "out", *options)
    [sample] = open_scenes(tmp_path / "out")
    np.testing.assert_array_equal(sample.segment, WANTED)
    np.testing.assert_allclose(sample.coord, points(), atol=0.002)
    assert not sample.color.any()


def test_things_are_counted_and_units_are_scaled(tmp_path: Path) -> None:
    numbers = np.tile([9.0, 9.0, -1.0, np.nan, 4.0, 4.0, 9.0, 100.0], 10).astype(np.float32)
    write_ply(tmp_path / "scans" / "a.ply", field="scalar_Label", thing=numbers)
    options = ("--instance", "thing", "--label-map", write_map(tmp_path), "--val-share", 0)
    prepare("labelled", tmp_path / "scans", tmp_path / "out", *options, "--scale", 0.5)
    [sample] = open_scenes(tmp_path / "out")
    assert sample.instance is not None
    assert sample.instance[:8].tolist() == [1, 1, -1, -1, 0, 0, 1, 2]
    np.testing.assert_array_equal(sample.segment, WANTED)
    np.testing.assert_allclose(sample.coord, points() / 2, atol=1e-6)


def names_of(out: Path) -> dict[str, list[str]]:
    splits = sorted(folder.name for folder in out.iterdir() if folder.is_dir())
    return {split: [scene.name for scene in open_scenes(out, split=split)] for split in splits}


def test_splits_are_a_share_names_or_folders(tmp_path: Path) -> None:
    scans, label_map = tmp_path / "scans", write_map(tmp_path)
    for number in range(10):
        write_ply(scans / f"tile_{number}.ply")

    def splits(out: str, *options: object, source: Path = scans) -> dict[str, list[str]]:
        prepare("labelled", source, tmp_path / out, "--label-map", label_map, *options)
        return names_of(tmp_path / out)

    a, b = splits("a"), splits("b")
    assert a == b
    assert {split: len(names) for split, names in a.items()} == {"train": 8, "val": 2}
    named = splits("c", "--val", "tile_3", "*_7.ply")
    assert named["val"] == ["tile_3", "tile_7"]
    assert len(named["train"]) == 8
    assert splits("d", "--val-share", 0).keys() == {"train"}
    for split, number in (("train", 0), ("val", 1), ("test", 2)):
        write_ply(tmp_path / "split" / split / f"{number}.ply")
    wanted = {"test": ["test/2"], "train": ["train/0"], "val": ["val/1"]}
    assert splits("e", source=tmp_path / "split") == wanted
    said = prepare(
        "labelled",
        tmp_path / "split",
        tmp_path / "f",
        "--label-map",
        label_map,
        "--val",
        "1",
        code=1,
    )
    assert "leave --val and --val-share out" in said


def test_a_card_states_the_licence_of_all_its_splits(tmp_path: Path) -> None:
    source, labels = tmp_path / "scans", write_map(tmp_path)
    write_ply(source / "a.ply")
    common = ("--label-map", labels, "--val-share", 0)
    prepare("labelled", source, tmp_path / "out", *common, "--license", "cc-by-4.0")
    (tmp_path / "out" / "train").rename(tmp_path / "out" / "first")
    card = tmp_path / "out" / "README.md"
    for given, wanted in (("cc-by-4.0", "cc-by-4.0"), ("mit", "other"), (None, None)):
        options = ("--license", given) if given else ()
        prepare("labelled", source, tmp_path / "out", *common, "--overwrite", *options)
        assert DatasetCard(card.read_text(encoding="utf-8")).data.license == wanted
        assert "scale 1.0, license cc-by-4.0" in card.read_text(encoding="utf-8")


def test_splits_of_other_classes_do_not_come_into_one_folder(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    write_ply(source / "a.ply")
    common = ("labelled", source, tmp_path / "out", "--val-share", 0, "--label-map")
    prepare(*common, write_map(tmp_path))
    (tmp_path / "out" / "train").rename(tmp_path / "out" / "first")
    other = write_map(tmp_path, "1 lawn\n2 roof\n", "other.txt")
    said = prepare(*common, other, code=1)
    assert re.search("out/first has classes .* what is to stand beside it has lawn, roof", said)
    assert not (tmp_path / "out" / "train").exists()


def test_a_json_map_may_leave_numbers_without_a_class(tmp_path: Path) -> None:
    text = '{"2": "ground", "5": "plant", "3": "plant", "6": "building", "7": null}'
    label_map = read_label_map(write_map(tmp_path, text, "labels.json"))
    assert label_map.classes == ("ground", "plant", "building")
    np.testing.assert_array_equal(label_map.apply(LABELS, "a"), WANTED)
    # Unlabelled points are often NaN or negative.
    assert label_map.apply(np.array([np.nan, -1, -100, 6]), "a").tolist() == [-1, -1, -1, 2]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "a.txt", "names no class"),
        ("ground 2", "a.txt", "has a line 'ground 2'; expected a number and a name"),
        ("2 ground\n2 water", "a.txt", "gives 2 two names"),
        ("[1]", "a.json", "no map of labels"),
        ('{"a": "b"}', "a.json", "no map of labels"),
        ("{", "a.json", "no map of labels"),
    ],
)
def test_a_wrong_map_is_refused(text: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_label_map(write_map(tmp_path, text, name))


def test_names_of_classes_come_as_they_are_written_or_the_map_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("2 Gebäude\n", encoding="utf-8")
    assert read_label_map(file).classes == ("Gebäude",)
    file.write_text("2 Gebäude\n", encoding="cp1252")
    with pytest.raises(InputError, match=r"labels.txt is no text in UTF-8: .* Save it as UTF-8"):
        read_label_map(file)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS, (), r"a.ply has labels 2, 3, 5, 6, 7. .* --label-map FILE, .*\"2 ground\""),
        (LABELS, ("MAP", "--label", "kind"), "a.ply: It has no field 'kind'; .* blue, label"),
        (
            np.full(80, 42, np.int32),
            ("MAP",),
            "a.ply has label 42 at 80 of 80 .*labels.txt has no",
        ),
        (np.full(80, 2.5), ("MAP",), "a.ply has label 2.5; labels are whole numbers"),
        (np.full(80, 7, np.int32), ("MAP",), "Not one point of the split train has a class"),
        (LABELS, ("MAP", "--val", "z"), "No scan in .* is named z"),
        (LABELS, ("MAP", "--val", "*"), "The split train is empty: all scans are for validation"),
        (LABELS, ("MAP", "--val-share", 1), "val_share is 1; it must be from 0 to below 1"),
        (LABELS, ("MAP", "--scale", 0), "scale is 0; it must be over 0"),
        (LABELS, ("MAP", "--normals", 2), "normals is 2; a plane takes 3 points at least"),
        (LABELS, ("MAP", "--viewpoint", 0, 0, 0), "pass --normals K too, or leave it out"),
        (
            LABELS,
            ("MAP", "--normals", 20, "--viewpoint", 0, 0, "nan"),
            "viewpoint is .*nan.*; pass three finite coordinates",
        ),
        (LABELS, ("MAP", "--color-range", 1, 0), "color_range is .*; the second must be the larg"),
        (LABELS, ("--label-map", "nowhere.txt"), "Cannot read nowhere.txt"),
    ],
)
def test_what_cannot_be_is_named(
    labels: np.ndarray, options: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    write_ply(tmp_path / "scans" / "a.ply", labels)
    if options[:1] == ("MAP",):
        options = ("--label-map", write_map(tmp_path), *options[1:])
    said = prepare("labelled", tmp_path / "scans", tmp_path / "out", *options, code=1)
    assert re.search(message, said), said
    assert "Error parsing" not in said  # the options' own classes are nobody's business
    assert not (tmp_path / "out" / "train").exists()


def test_each_name_of_val_must_be_a_scans(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_ply(tmp_path / "scans" / f"{name}.ply", LABELS)
    options = ("--label-map", write_map(tmp_path), "--val", "b", "bb")
    said = prepare("labelled", tmp_path / "scans", tmp_path / "out", *options, code=1)
    assert "No scan in" in said
    assert "is named bb" in said


def test_hidden_folders_and_folders_named_as_scans_are_no_scans(tmp_path: Path) -> None:
    for name in ("a.ply", ".checkpoints/b.ply", "tiles.las/c.ply"):
        write_ply(tmp_path / "scans" / name)
    options = ("--label-map", write_map(tmp_path), "--val-share", 0)
    prepare("labelled", tmp_path / "scans", tmp_path / "out", *options)
    assert names_of(tmp_path / "out") == {"train": ["a", "tiles.las/c"]}


def test_scans_beside_the_folders_of_splits_are_told(tmp_path: Path) -> None:
    for name in ("b.ply", "c.ply", "val/a.ply"):
        write_ply(tmp_path / "scans" / name)
    options = ("--label-map", write_map(tmp_path))
    said = prepare("labelled", tmp_path / "scans", tmp_path / "out", *options)
    assert re.search(r"Left out: 2 of the scans .* its folders val; the first: .*b\.ply\.", said)
    assert names_of(tmp_path / "out") == {"val": ["val/a"]}


def test_two_files_that_would_be_one_scene_are_refused(tmp_path: Path) -> None:
    for name in ("a.ply", "b.ply"):
        write_ply(tmp_path / "scans" / name, LABELS)
    (tmp_path / "scans" / "a.pcd").write_bytes(b"")
    options = ("--label-map", write_map(tmp_path))
    said = prepare("labelled", tmp_path / "scans", tmp_path / "out", *options, code=1)
    assert "differ in their suffix alone" in said


def test_a_folder_without_scans_is_named(tmp_path: Path) -> None:
    assert "There is no folder" in prepare("labelled", tmp_path / "no", tmp_path / "out", code=1)
    label_map = write_map(tmp_path / "empty")
    said = prepare(
        "labelled", tmp_path / "empty", tmp_path / "out", "--label-map", label_map, code=1
    )
    assert "There is no scan in" in said


@pytest.mark.parametrize("text", [True, False])
def test_any_field_is_read_beside_the_points_in_text_and_binary(text: bool, tmp_path: Path) -> None:
    numbers = np.arange(len(LABELS), dtype=np.float64)
    file = write_ply(tmp_path / "a.ply", field="scalar_Label", text=text, intensity=numbers)
    cloud, scalars = read_scalars(file, ["Intensity", "label"])
    assert len(cloud) == len(LABELS)
    np.testing.assert_array_equal(scalars["Intensity"], numbers)
    np.testing.assert_array_equal(scalars["label"], LABELS)
    with pytest.raises(InputError, match=r"a.npy is none of .ply, .pcd, .las, .laz"):
        read_scalars(tmp_path / "a.npy", ["label"])
