"""`python -m concerto.training.prepare`, through its command line.

It runs in this process: starting Python with torch takes longer than the work.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard
from tool_recordings import write_colmap_text

from command import PREPARE, run_here
from concerto.training.prepare.rgbd_scene import RgbdOptions, prepare_scene
from concerto.training.scenes.sources import open_scenes
from hub_server import FakeHub
from made_samples import assert_same, made, write_published
from prepare_command import prepare
from recordings import (
    distance_to_room,
    frames,
    turned,
    write_flat,
    write_scannet,
    write_sens,
    write_tum,
)

FRAMES = frames()


def folders_of(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()} if out.exists() else set()


# --- rgbd ----------------------------------------------------------------------------------------


def test_scenes_of_every_layout_become_samples_with_four_images_each(tmp_path: Path) -> None:
    write_flat(tmp_path / "scenes" / "flat", FRAMES)
    write_tum(tmp_path / "scenes" / "freiburg", FRAMES)
    write_scannet(tmp_path / "scenes" / "scannet", FRAMES)
    # TUM's folders do not tell this camera, so that it is given; the others' is the same.
    camera = ["70", "70", "47.5", "35.5"]
    for name in ("flat", "freiburg"):
        prepare("rgbd", tmp_path / "scenes" / name, tmp_path / name, "--intrinsics", *camera)
    prepare("rgbd", tmp_path / "scenes" / "scannet", tmp_path / "scannet")
    clouds = []
    for name in ("flat", "freiburg", "scannet"):
        scenes = open_scenes(tmp_path / name)
        assert [scene.name for scene in scenes] == [f"{name}_0", f"{name}_1"]
        for scene in scenes:
            assert len(scene.images) == len(scene.seen) == 4
            assert distance_to_room(scene.coord).max() < 0.015
            assert min(len(seen) for seen in scene.seen) > 1000
            for image, seen in zip(scene.images, scene.seen, strict=True):
                pixel = image[seen[:, 1], seen[:, 0]].astype(int)
                off = np.abs(pixel - scene.color[seen[:, 2]]).max(1)
                assert np.mean(off < 20) > 0.9
        clouds.append(scenes[0])
    assert abs(len(clouds[1].coord) - len(clouds[0].coord)) < 0.02 * len(clouds[0].coord)
    assert clouds[2].images[0].shape == (144, 192, 3)


def test_scannets_sens_files_become_the_samples_of_their_exported_frames(tmp_path: Path) -> None:
    write_scannet(tmp_path / "exported" / "scene0000_00", FRAMES)
    write_sens(tmp_path / "scans" / "scene0000_00" / "scene0000_00.sens", FRAMES)
    for source in ("exported", "scans"):
        prepare("rgbd", tmp_path / source, tmp_path / "out", "--split", source)
    exported, read = (open_scenes(tmp_path / "out", split=name) for name in ("exported", "scans"))
    assert len(read) == 2
    for one, other in zip(read, exported, strict=True):
        assert len(one.coord) == len(other.coord)
        np.testing.assert_allclose(one.coord, other.coord, atol=1e-4)
        for given, wanted in zip(one.images, other.images, strict=True):
            np.testing.assert_array_equal(given, wanted)


def test_a_scene_of_unknown_scale_is_warned_of(tmp_path: Path) -> None:
    write_colmap_text(tmp_path / "workspace")
    said = prepare("rgbd", tmp_path / "workspace", tmp_path / "out")
    assert "warning: workspace: poses of COLMAP have no known scale" in said
    assert len(open_scenes(tmp_path / "out")) == 2


def test_a_folder_of_scenes_is_worked_on_by_several_processes_in_order(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        write_flat(tmp_path / "scenes" / name, FRAMES[:4])
    prepare("rgbd", tmp_path / "scenes", tmp_path / "out", "--workers", 2)
    assert [scene.name for scene in open_scenes(tmp_path / "out")] == ["a_0", "b_0", "c_0"]


def test_a_recording_that_starts_with_the_camera_is_turned_upright_with_its_normals(
    tmp_path: Path,
) -> None:
    world = FRAMES[0].pose[:3, :3].T
    source = write_flat(tmp_path / "tilted", [turned(frame, world) for frame in FRAMES])
    prepare("rgbd", source, tmp_path / "out")
    prepare("rgbd", source, tmp_path / "out", "--up", "z", "--split", "tilted")
    sample = open_scenes(tmp_path / "out")[0]
    assert np.ptp(sample.coord[:, 2]) < 2.6
    assert np.mean(np.abs(sample.normal[:, 2]) > 0.98) > 0.15
    left = open_scenes(tmp_path / "out", split="tilted")[0]
    assert np.ptp(left.coord[:, 2]) > 2.7
    for one, other in zip(sample.seen, left.seen, strict=True):
        np.testing.assert_array_equal(one, other)


def test_images_are_chosen_evenly_and_fewer_frames_by_a_stride(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "room", FRAMES)
    prepare("rgbd", source, tmp_path / "all", "--max-images", 5)
    prepare("rgbd", source, tmp_path / "half", "--stride", 3)
    [chosen] = open_scenes(tmp_path / "all")
    [strided] = open_scenes(tmp_path / "half")
    assert [_number(image) for image in chosen.images] == [0, 2, 4, 6]
    assert [_number(image) for image in strided.images] == [0, 3, 6]
    assert len(strided.coord) < len(chosen.coord)


def test_what_images_see_is_held_as_it_is_stored(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "room", FRAMES)
    samples = prepare_scene(source, RgbdOptions()).samples
    prepare("rgbd", source, tmp_path / "out")
    for sample, read in zip(samples, open_scenes(tmp_path / "out"), strict=True):
        for seen, stored in zip(sample.seen, read.seen, strict=True):
            assert seen.dtype == np.int32
            np.testing.assert_array_equal(seen, stored)


def _number(image: np.ndarray) -> int:
    return next(k for k, frame in enumerate(FRAMES) if np.array_equal(frame.color, image))


def test_a_bad_frame_stops_the_work_and_leaves_nothing_or_is_left_out(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "room", FRAMES)
    np.savetxt(source / "frame-000002.pose.txt", FRAMES[2].pose * [[2], [2], [2], [1]])
    (source / "frame-000005.depth.png").write_bytes(b"cut off")
    said = prepare("rgbd", source, tmp_path / "out", code=1)
    assert "frame-000002: the pose is no rigid motion" in said
    assert "determinant 8 " in said
    assert "--skip-bad leaves such frames out" in said
    assert folders_of(tmp_path / "out") == set()
    said = prepare("rgbd", source, tmp_path / "out", "--skip-bad")
    assert "warning: room: 2 of 8 frames are left out." in said
    assert "determinant 8 " in said
    assert "frame-000005.depth.png" in said
    [sample] = open_scenes(tmp_path / "out")
    assert [_number(image) for image in sample.images] == [0, 1, 4, 6]


def test_a_wrong_unit_of_depth_is_met_with_the_flag_that_mends_it(tmp_path: Path) -> None:
    millimetres = [replace(frame, depth=frame.depth / 1000) for frame in FRAMES[:4]]
    source = write_flat(tmp_path / "room", millimetres)
    (source / "frame-000000.depth.png").unlink()
    said = prepare("rgbd", source, tmp_path / "out", "--skip-bad", code=1)
    assert "No frame can be used" in said
    source = write_flat(tmp_path / "again", FRAMES[:4])
    said = prepare("rgbd", source, tmp_path / "out", "--depth-scale", 1, code=1)
    assert "--depth-scale 1000 for millimetres" in said


def test_a_split_is_replaced_only_when_asked_and_only_when_the_new_one_is_whole(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    source = write_flat(tmp_path / "room", FRAMES[:4])
    prepare("rgbd", source, out)
    assert "--overwrite" in prepare("rgbd", source, out, code=1)
    broken = write_flat(tmp_path / "broken", FRAMES[:4])
    (broken / "frame-000003.color.png").write_bytes(b"?")
    prepare("rgbd", broken, out, "--overwrite", code=1)
    assert [scene.name for scene in open_scenes(out)] == ["room_0"]
    prepare("rgbd", broken, out, "--overwrite", "--skip-bad")
    assert [scene.name for scene in open_scenes(out)] == ["broken_0"]
    assert folders_of(out) == {"train", "README.md"}


def test_help_tells_what_can_be_prepared_and_from_what() -> None:
    assert "rgbd" in prepare("--help")
    said = prepare("rgbd", "--help")
    assert "--push-to-hub" in said
    assert "TUM RGB-D" in said


def test_the_command_prints_the_split_that_it_wrote(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "room", FRAMES[:4])
    process = run_here("rgbd", source, tmp_path / "out", module=PREPARE)
    assert process.stdout == f"{tmp_path / 'out' / 'train'}  1 samples\n"
    assert len(open_scenes(tmp_path / "out")) == 1


def test_a_real_kitchen_becomes_samples_whose_pixels_fit_their_points(
    shared: Path, tmp_path: Path
) -> None:
    prepare("rgbd", shared / "data" / "kitchen", tmp_path / "out", "--stride", 12)
    scenes = open_scenes(tmp_path / "out")
    assert len(scenes) == 2
    for scene in scenes:
        assert len(scene.coord) > 50_000
        for image, seen in zip(scene.images, scene.seen, strict=True):
            pixel = image[seen[:, 1], seen[:, 0]].astype(int)
            shuffled = np.random.default_rng(0).permutation(seen[:, 2])
            off, chance = (
                np.median(np.abs(pixel - scene.color[points])) for points in (seen[:, 2], shuffled)
            )
            assert off < 0.5 * chance
        # The table, the worktop and the floor face up.
        assert np.mean(scene.normal[:, 2] > 0.95) > 0.1


# --- published -----------------------------------------------------------------------------------


def test_the_published_layout_becomes_the_same_samples(tmp_path: Path) -> None:
    samples = [made(number) for number in range(3)]
    prepare("published", write_published(tmp_path / "rooms", samples), tmp_path / "out")
    for given, wanted in zip(open_scenes(tmp_path / "out"), samples, strict=True):
        assert_same(given, wanted.decode(), degrees=0.5)


def test_published_archives_are_read_in_parts_and_leave_nothing_unpacked(tmp_path: Path) -> None:
    samples = [made(number) for number in range(3)]
    write_published(tmp_path / "rooms", samples, working="data/rooms")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(tmp_path / "rooms", "rooms")
    content, source = stream.getvalue(), tmp_path / "archives"
    source.mkdir()
    for number, start in enumerate(range(0, len(content), 10_000)):
        part = content[start : start + 10_000]
        (source / f"rooms.tar.gz.{number:02d}").write_bytes(part)
    prepare("published", source, tmp_path / "out")
    for given, wanted in zip(open_scenes(tmp_path / "out"), samples, strict=True):
        assert_same(given, wanted.decode(), degrees=0.5)
    assert folders_of(tmp_path / "out") == {"train", "README.md"}


def areas(folder: Path) -> Path:
    """Two areas in the published layout, of one sample each, whose rooms are of one name."""
    for area in ("Area_1", "Area_2"):
        write_published(folder, [made(0)], split=area)
    return folder


def test_splits_of_other_names_are_written_as_one_whose_scenes_stay_apart(tmp_path: Path) -> None:
    source, out = areas(tmp_path / "rooms"), tmp_path / "out"
    said = prepare("published", source, out, code=1)
    assert f"{source} has no split train. It has: Area_1, Area_2. Name those to read" in said
    prepare("published", source, out, "--source-splits", "Area_1", "Area_2")
    scenes = open_scenes(out)
    assert [scene.name for scene in scenes] == ["Area_1/room_0", "Area_2/room_0"]
    assert list(scenes.scenes) == ["Area_1/room_0", "Area_2/room_0"]
    assert "the published layout, splits Area_1, Area_2" in (out / "README.md").read_text()
    prepare("published", source, out, "--source-splits", "Area_2", "--split", "val")
    assert [scene.name for scene in open_scenes(out, split="val")] == ["room_0"]


def test_an_archive_that_lacks_a_split_is_known_before_the_rest_is_unpacked(
    tmp_path: Path,
) -> None:
    areas(tmp_path / "rooms")
    (tmp_path / "archives").mkdir()
    with tarfile.open(tmp_path / "archives" / "rooms.tar.gz", mode="w:gz") as tar:
        for name in ("splits", "Area_1"):
            tar.add(tmp_path / "rooms" / name, f"rooms/{name}")
        # Were it unpacked, its name would be what is refused.
        tar.addfile(tarfile.TarInfo("../out.txt"))
    options = ("published", tmp_path / "archives", tmp_path / "out", "--source-splits")
    said = prepare(*options, "Area_1", "Area_7", code=1)
    assert "archives has no split Area_7. It has: Area_1, Area_2." in said
    assert "leads out of its folder" in prepare(*options, "Area_1", code=1)


def test_the_lists_of_a_data_sets_splits_may_lie_in_several_archives(tmp_path: Path) -> None:
    areas(tmp_path / "rooms")
    (tmp_path / "archives").mkdir()
    for area in ("Area_1", "Area_2"):
        with tarfile.open(tmp_path / "archives" / f"{area}.tar.gz", mode="w:gz") as tar:
            for name in (f"splits/{area}.json", area):
                tar.add(tmp_path / "rooms" / name, f"rooms/{name}")
    prepare("published", tmp_path / "archives", tmp_path / "out", "--source-splits", "Area_2")
    assert [scene.name for scene in open_scenes(tmp_path / "out")] == ["room_0"]


def test_archives_of_several_published_data_sets_are_refused_and_none_is_dropped(
    tmp_path: Path,
) -> None:
    source = tmp_path / "archives"
    source.mkdir()
    for number, name in enumerate(("rooms", "offices")):
        write_published(tmp_path / name, [made(number)])
        with tarfile.open(source / f"{name}.tar.gz", mode="w:gz") as tar:
            tar.add(tmp_path / name, name)
    said = prepare("published", source, tmp_path / "out", code=1)
    assert "hold 2 data sets, each with splits/: offices, rooms. Put" in said


def test_a_broken_published_sample_stops_the_work_or_is_left_out(tmp_path: Path) -> None:
    source = write_published(tmp_path / "rooms", [made(number) for number in range(3)])
    np.save(source / "train" / "room_1" / "0.npy", np.array([[0, 0, 60]]))
    said = prepare("published", source, tmp_path / "out", code=1)
    assert "room_1" in said
    assert "--skip-bad" in said
    assert folders_of(tmp_path / "out") == set()
    assert "room_1" in prepare("published", source, tmp_path / "out", "--skip-bad")
    assert [scene.name for scene in open_scenes(tmp_path / "out")] == ["room_0", "room_2"]


# --- the Hub -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("logged_in")
def test_what_is_pushed_holds_a_card_and_is_what_is_read_back(hub: FakeHub, tmp_path: Path) -> None:
    source = write_flat(tmp_path / "room", FRAMES[:4])
    options = ("--push-to-hub", "me/rooms", "--license", "cc-by-4.0")
    said = prepare("rgbd", source, tmp_path / "out", *options)
    repo = hub.repos["datasets/me/rooms"]
    assert f"{hub.url}/datasets/me/rooms/commit/{repo.branches['main']}" in said
    # Files of an earlier upload that the new one has no place for are removed with it.
    repo.commit({"train/00001-of-00002.parquet": b"old", "notes.txt": b"mine"})
    prepare("rgbd", source, tmp_path / "out", *options, "--overwrite")
    assert repo.at("main").keys() == {"README.md", "train/00000-of-00001.parquet", "notes.txt"}
    card = DatasetCard(repo.at("main")["README.md"].decode())
    assert card.data.license == "cc-by-4.0"
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "train/*.parquet"}]
    assert "1 RGB-D recording" in card.text
    assert 'load_dataset("me/rooms"' in card.text
    [here], [there] = open_scenes(tmp_path / "out"), open_scenes("me/rooms", streaming=True)
    assert_same(there, here)


@pytest.mark.usefixtures("logged_in")
def test_a_split_on_the_hub_is_not_hidden_by_another_from_another_folder(
    hub: FakeHub, tmp_path: Path
) -> None:
    source = write_published(tmp_path / "rooms", [made(0)])
    write_published(source, [made(1)], split="val")
    one, other, push = tmp_path / "one", tmp_path / "other", ("--push-to-hub", "me/rooms")
    prepare("published", source, one, *push)
    before = hub.repos["datasets/me/rooms"].at("main")
    said = prepare("published", source, other, "--split", "val", *push, code=1)
    assert "me/rooms on the Hub has splits that" in said
    assert "lacks, train, and the card of what is pushed would hide them. Fetch them" in said
    assert hub.repos["datasets/me/rooms"].at("main") == before
    assert folders_of(other) == set()
    shutil.copytree(one, other, dirs_exist_ok=True)
    prepare("published", source, other, "--split", "val", *push)
    for split, name in (("train", "room_0"), ("val", "room_1")):
        there = open_scenes("me/rooms", split=split, streaming=True)
        assert [scene.name for scene in there] == [name]
    card = DatasetCard(hub.repos["datasets/me/rooms"].at("main")["README.md"].decode())
    assert [files["split"] for files in card.data.configs[0]["data_files"]] == ["train", "val"]


def test_a_hub_that_may_not_be_written_is_known_before_the_work(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "unknown")
    source = write_flat(tmp_path / "room", FRAMES[:4])
    said = prepare("rgbd", source, tmp_path / "out", "--push-to-hub", "me/rooms", code=1)
    assert "Could not upload to me/rooms" in said
    assert folders_of(tmp_path / "out") == set()
