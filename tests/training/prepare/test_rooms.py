"""`prepare rooms`: procedural rooms, from what stands in them to the files."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard

from command import PREPARE, run_here
from concerto.errors import InputError
from concerto.training.prepare.output import OutputOptions
from concerto.training.prepare.rgbd import rgbd
from concerto.training.prepare.rgbd_scene import RgbdOptions
from concerto.training.prepare.rooms.build import build_room
from concerto.training.prepare.rooms.classes import CLASSES, Kind
from concerto.training.prepare.rooms.command import rooms
from concerto.training.prepare.rooms.frames import write_frames
from concerto.training.prepare.rooms.items import Item, Solids
from concerto.training.prepare.rooms.options import RoomOptions
from concerto.training.prepare.rooms.room import Room
from concerto.training.prepare.rooms.scene import nearest_labels, room_samples, shoot
from concerto.training.scenes.sources import open_scenes
from concerto.training.views.crops import ViewConfig, make_views

SMALL = RoomOptions(scenes=3, views=4, size=(96, 72))
ROOMS = 36


@pytest.fixture(scope="module")
def built() -> list[Room]:
    """Rooms before anything is rendered."""
    return [build_room(seed=3, number=number) for number in range(ROOMS)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of prepared rooms, with their frames beside it."""
    folder = tmp_path_factory.mktemp("rooms")
    rooms(folder / "out", rooms=replace(SMALL, frames=folder / "frames"))
    return folder


# --- what stands in rooms ------------------------------------------------------------------------


def test_no_two_things_reach_into_each_other(built: list[Room]) -> None:
    for room in built:
        hard = [item for item in room.items if not item.soft]
        owner = np.concatenate([[k] * len(item.parts) for k, item in enumerate(hard)])
        solids = Solids.joined([item.solids() for item in hard])
        overlap = solids.overlap(solids)
        overlap[owner[:, None] == owner] = -1
        assert overlap.max() < 1e-3


def test_nothing_reaches_through_walls_floor_or_ceiling(built: list[Room]) -> None:
    for room in built:
        width, depth, height = room.size
        for item in room.items:
            if item.kind not in (Kind.DOOR, Kind.WINDOW):
                points = np.concatenate([item.to_room(part.vertex) for part in item.parts])
                assert (points > -1e-3).all(), item.kind
                assert (points < np.array([width, depth, height]) + 1e-3).all(), item.kind


def test_l_shaped_rooms_are_empty_where_their_corner_is_missing(built: list[Room]) -> None:
    shaped = [room for room in built if room.blocked]
    assert 1 <= len(shaped) < len(built) / 2
    for room in shaped:
        assert len(room.walls) == 6
        [missing] = room.blocked
        solids = Solids.joined([item.solids() for item in room.items if item.rests != "wall"])
        assert solids.overlap(missing).max() < 1e-3


def test_every_thing_stands_hangs_or_lies_on_something(built: list[Room]) -> None:
    for room in built:
        for item in room.items:
            assert _is_held(room, item), (room.style, item.kind, item.rests)


def _is_held(room: Room, item: Item) -> bool:
    solids = item.solids()
    if item.rests == "floor":
        return abs(float(solids.low.min())) < 0.005
    if item.rests == "ceiling":
        return abs(float(solids.high.max()) - room.size[2]) < 0.005
    if item.rests == "wall":
        corners = solids.corners().reshape(-1, 2)
        inner = [one.center - one.half for one in room.blocked]
        sides = np.concatenate([np.zeros((1, 2)), np.array([room.size[:2]]), *inner])
        return bool(np.abs(corners[:, None] - sides).min() < 0.11)
    # On top of something: a little lower, it would reach into that.
    lowered = replace(solids, low=solids.low - 0.008)
    others = [one.solids() for one in room.items if one is not item]
    return bool((lowered.overlap(Solids.joined(others)) > 0.001).any())


def test_chairs_at_tables_face_them(built: list[Room]) -> None:
    cosines = []
    for room in built:
        boards = [item for item in room.items if item.kind in (Kind.TABLE, Kind.DESK)]
        for seat in (item for item in room.items if item.kind is Kind.CHAIR):
            away = [np.subtract(board.at[:2], seat.at[:2]) for board in boards]
            near = min(away, key=np.linalg.norm, default=np.array([9.0, 9.0]))
            if np.linalg.norm(near) < 0.9:
                front = seat.to_room(np.array([[0.0, -1.0, 0.0]]))[0, :2] - seat.at[:2]
                cosines.append(float(front @ near / np.linalg.norm(near)))
    assert len(cosines) > 10
    assert np.mean(np.array(cosines) > 0.5) > 0.8


def test_all_classes_appear_in_a_few_rooms(built: list[Room]) -> None:
    found = {item.kind for room in built for item in [*room.shell, *room.items]}
    assert found == set(Kind)
    assert len(CLASSES) >= 20


def test_classes_share_their_materials(built: list[Room]) -> None:
    makers: dict[int, set[Kind]] = {}
    for room in built:
        for item in room.items:
            for part in item.parts:
                makers.setdefault(id(part.material), set()).add(item.kind)
    shared = [kinds for kinds in makers.values() if len(kinds) > 1]
    assert any({Kind.DESK, Kind.SHELF} <= kinds for kinds in shared)
    assert any({Kind.CABINET, Kind.TABLE} <= kinds for kinds in shared)


def test_rooms_of_a_number_are_the_same_and_others_differ() -> None:
    one, again, other = build_room(5, 7), build_room(5, 7), build_room(5, 8)
    assert [item.at for item in one.items] == [item.at for item in again.items]
    assert one.size != other.size


# --- what is seen of them ------------------------------------------------------------------------


def test_points_lie_on_the_surfaces_and_carry_their_labels() -> None:
    options = replace(SMALL, size=(160, 120))
    [sample] = room_samples(6, options)
    truths = [shot.truth for shot in shoot(6, options)]
    segment, instance = nearest_labels(sample.coord, truths)
    assert sample.segment is not None
    np.testing.assert_array_equal(sample.segment, segment)
    np.testing.assert_array_equal(sample.instance, instance)
    assert np.mean(segment >= 0) > 0.99
    room = build_room(options.seed, 6)
    assert len(room.walls) == 4
    floor = sample.coord[segment == Kind.FLOOR] - 0.01
    assert np.median(np.abs(floor[:, 2])) < 0.01
    width, depth, _ = room.size
    wall = sample.coord[segment == Kind.WALL][:, :2] - 0.01
    off = np.abs(np.concatenate([wall, wall - [width, depth]], 1)).min(1)
    assert np.median(off) < 0.02
    assert np.percentile(off, 90) < 0.08


def test_depth_has_noise_and_holes_that_grow_with_distance() -> None:
    shots = shoot(9, SMALL)
    depth = np.concatenate([shot.depth.ravel() for shot in shots]) / 1000
    truth = np.concatenate([shot.truth.depth.ravel() for shot in shots])
    seen = depth > 0
    assert 0.6 < seen.mean() < 0.98
    off = np.abs(depth - truth)
    near, far = (seen & (truth < 1.5)), (seen & (truth > 2.5))
    assert 0 < np.median(off[near]) < np.median(off[far]) < 0.05


# --- the command ---------------------------------------------------------------------------------


def test_samples_are_opened_with_their_labels_and_make_views(written: Path) -> None:
    scenes = open_scenes(written / "out")
    assert scenes.classes == CLASSES  # type: ignore[attr-defined]
    assert [scene.name for scene in scenes] == [f"room_0_{k:06d}_0" for k in range(3)]
    config = ViewConfig(image_size=56, most_points=4000)
    for scene in scenes:
        assert scene.segment is not None
        assert scene.segment.min() >= -1
        assert scene.segment.max() < len(CLASSES)
        assert len(np.unique(scene.segment)) >= 5
        views = make_views(scene, config, seed=1)
        assert len(views.images) >= 1
        assert len(views.principal.feat) > 1000


def test_the_number_of_workers_changes_nothing(written: Path, tmp_path: Path) -> None:
    rooms(tmp_path / "out", rooms=SMALL, workers=2)
    name = "train/00000-of-00001.parquet"
    one, other = (folder / "out" / name for folder in (written, tmp_path))
    assert one.read_bytes() == other.read_bytes()


def test_a_range_of_rooms_is_part_of_a_longer_one(written: Path, tmp_path: Path) -> None:
    last = replace(SMALL, first=2, scenes=1)
    rooms(tmp_path / "out", rooms=last, output=OutputOptions(split="val"))
    [scene] = open_scenes(tmp_path / "out", split="val")
    whole = open_scenes(written / "out")[2]
    assert scene.name == whole.name
    np.testing.assert_array_equal(scene.coord, whole.coord)
    np.testing.assert_array_equal(scene.images[3], whole.images[3])


def test_frames_are_read_back_as_a_recording_of_the_same_room(
    written: Path, tmp_path: Path
) -> None:
    rgbd(written / "frames", tmp_path / "out", recordings=RgbdOptions(up="z"))
    for read, made in zip(open_scenes(tmp_path / "out"), open_scenes(written / "out"), strict=True):
        np.testing.assert_array_equal(read.coord, made.coord)
        np.testing.assert_array_equal(read.color, made.color)
        for one, other in zip(read.seen, made.seen, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_card_says_that_rooms_are_made_and_free(written: Path, tmp_path: Path) -> None:
    card = DatasetCard((written / "out" / "README.md").read_text(encoding="utf-8"))
    assert card.data.license == "cc0-1.0"
    assert "- train: from procedural rooms, scenes 3, seed 0, first 0, views 4" in card.text
    assert "Nothing recorded" in card.text
    assert "recordings" not in card.text
    for use in ("pretrain --data", "probe --mode linear"):
        assert f"concerto.training.{use}" in card.text
    stated = replace(SMALL, scenes=1, views=1)
    rooms(tmp_path / "out", rooms=stated, output=OutputOptions(license="cc-by-4.0"))
    assert "license: cc-by-4.0\n" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_card_of_rooms_and_recordings_states_no_licence(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written / "out", tmp_path / "out")
    rgbd(
        written / "frames",
        tmp_path / "out",
        recordings=RgbdOptions(up="z"),
        output=OutputOptions(split="recorded"),
    )
    card = DatasetCard((tmp_path / "out" / "README.md").read_text(encoding="utf-8"))
    assert card.data.license is None
    assert "What holds for the recordings" in card.text


# --- the command line ----------------------------------------------------------------------------


def test_frames_of_an_earlier_run_with_more_views_are_not_mixed_in(tmp_path: Path) -> None:
    shots = shoot(0, replace(SMALL, views=2))
    write_frames(tmp_path / "room", shots)
    write_frames(tmp_path / "room", shots)
    with pytest.raises(InputError, match=r"room has over 1 frames, of an earlier run"):
        write_frames(tmp_path / "room", shots[:1])


def test_the_command_line_makes_rooms_and_their_frames(tmp_path: Path) -> None:
    said = run_here(
        "rooms", tmp_path / "out", "--scenes", 1, "--views", 2, "--size", 64, 48, "--split", "val",
        "--seed", 4, "--frames", tmp_path / "frames", module=PREPARE,
    )  # fmt: skip
    assert f"{tmp_path / 'out' / 'val'}  1 samples" in said.stdout
    [room] = (tmp_path / "frames").iterdir()
    assert room.name == "room_4_000000"
    assert len(list(room.glob("*.color.jpg"))) == 2
    assert (room / "classes.txt").read_text(encoding="utf-8").split() == list(CLASSES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenes", "1", "--split", "a b"], "split is 'a b'; it must be one word"),
        (["--scenes", "1"], "is there already. Choose another folder or another split"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    written: Path, arguments: list[str], message: str
) -> None:
    before = (written / "out" / "train" / "00000-of-00001.parquet").read_bytes()
    said = run_here("rooms", written / "out", *arguments, module=PREPARE, code=1)
    assert message in re.sub(r"\s+", " ", said.stderr)
    assert (written / "out" / "train" / "00000-of-00001.parquet").read_bytes() == before


def test_impossible_options_are_refused_in_one_line(tmp_path: Path) -> None:
    said = run_here("rooms", tmp_path / "out", "--size", 320, 8, module=PREPARE, code=1)
    assert re.search("size is 320 x 8; images have 32 or more.", said.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["scenes", "views", "seed", "first"])
def test_impossible_counts_are_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is -1; it must be at least"):
        RoomOptions(**{name: -1}).check()  # type: ignore[arg-type]


def test_an_unknown_option_shows_what_there_is(tmp_path: Path) -> None:
    said = run_here("rooms", tmp_path / "out", "--rooms", "3", module=PREPARE, code=2)
    assert "--rooms" in said.stdout + said.stderr
    assert not (tmp_path / "out").exists()


def test_without_the_ray_tracer_one_line_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embreex", None)
    said = run_here("rooms", tmp_path / "out", module=PREPARE, code=1)
    assert 'Procedural rooms need embreex: pip install "concerto-3d[train]".' in re.sub(
        r"\s+", " ", said.stderr
    )
    assert not (tmp_path / "out").exists()
