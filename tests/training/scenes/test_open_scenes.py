"""The same samples come back from every form that they are stored in."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from concerto.errors import HubError, InputError
from concerto.training.scenes.parquet_format import columns_of, from_table, to_table
from concerto.training.scenes.published import PublishedScenes
from concerto.training.scenes.sources import JoinedScenes, open_scenes
from hub_server import FakeHub, Repo
from made_samples import assert_same, labelled, made, write_prepared, write_published

SAMPLES = [made(number) for number in range(5)]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return write_prepared(tmp_path / "prepared", SAMPLES)


@pytest.fixture
def on_hub(prepared: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    files = {
        file.relative_to(prepared).as_posix(): file.read_bytes()
        for file in prepared.rglob("*.parquet")
    }
    hub.repos["datasets/me/rooms"] = Repo(files | {"README.md": b"# Rooms"})
    return "me/rooms"


# --- Parquet -------------------------------------------------------------------------------------


def test_a_prepared_sample_is_what_it_was_with_normals_to_half_a_degree(prepared: Path) -> None:
    scenes = open_scenes(prepared)
    assert len(scenes) == len(SAMPLES)
    for number, wanted in enumerate(SAMPLES):
        assert_same(scenes[number], wanted.decode(), degrees=0.5)


@pytest.mark.parametrize("images", [0, 1, 4])
def test_a_sample_may_have_any_number_of_images(images: int) -> None:
    sample = made(1, images=images)
    again = from_table(to_table(sample, columns_of().arrow_schema), "here")
    assert again.scene == sample.scene
    assert_same(again.decode(), sample.decode(), degrees=0.5)


def test_rows_are_small_groups_that_datasets_reads(prepared: Path) -> None:
    import datasets

    file = next(prepared.rglob("*.parquet"))
    footer = pq.read_metadata(file)
    assert all(footer.row_group(k).num_rows <= 4 for k in range(footer.num_row_groups))
    rows = list(datasets.load_dataset(str(prepared), split="train", streaming=True))
    assert [row["name"] for row in rows] == [sample.name for sample in SAMPLES]
    np.testing.assert_array_equal(np.array(rows[2]["coord"], np.float32), SAMPLES[2].coord)
    np.testing.assert_array_equal(rows[2]["images"][1], SAMPLES[2].decode().images[1])
    np.testing.assert_array_equal(rows[2]["seen"][0]["point"], SAMPLES[2].seen[0][:, 2])


def test_rows_may_stand_in_groups_and_beside_other_columns(tmp_path: Path) -> None:
    schema = columns_of().arrow_schema
    table = pa.concat_tables([to_table(sample, schema) for sample in SAMPLES])
    table = table.append_column("segment", pa.array([[1, 2, 3]] * len(SAMPLES)))
    for number, (part, rows) in enumerate(((table[:3], 2), (table[3:], 4))):
        pq.write_table(part, tmp_path / f"train-{number}.parquet", row_group_size=rows)
    scenes = open_scenes(tmp_path)
    assert [scenes[k].name for k in range(5)] == [sample.name for sample in SAMPLES]


def test_splits_are_told_apart(tmp_path: Path) -> None:
    for split, numbers in (("train", (0, 1)), ("val", (2,)), ("train_small", (3,))):
        write_prepared(tmp_path, [SAMPLES[number] for number in numbers], split)
    assert [s.name for s in open_scenes(tmp_path)] == ["room_0", "room_1"]
    assert [s.name for s in open_scenes(tmp_path, split="train_small")] == ["room_3"]
    with pytest.raises(InputError, match=r"no split 'test'.*train, train_small, val"):
        open_scenes(tmp_path, split="test")


def test_a_split_that_lacks_one_of_its_files_is_refused(tmp_path: Path) -> None:
    schema = columns_of().arrow_schema
    for number in (0, 2):
        table = to_table(SAMPLES[number], schema)
        pq.write_table(table, tmp_path / f"train-0000{number}-of-00003.parquet")
    with pytest.raises(InputError, match=r"lacks train-00001-of-00003\.parquet, one of 3 files"):
        open_scenes(tmp_path)


def test_columns_of_another_type_are_read_where_they_mean_the_same(tmp_path: Path) -> None:
    row = to_table(SAMPLES[0], columns_of().arrow_schema)
    for name, kind in (("coord", pa.float64()), ("color", pa.int64()), ("normal", pa.float32())):
        row = row.set_column(
            row.column_names.index(name), name, row[name].cast(pa.list_(pa.list_(kind, 3)))
        )
    pq.write_table(row, tmp_path / "train.parquet")
    assert_same(open_scenes(tmp_path)[0], SAMPLES[0].decode(), degrees=0.5)


@pytest.mark.parametrize(("name", "scale"), [("color", 1 / 255), ("normal", 1 / 127)])
def test_fractions_for_bytes_are_refused_not_cut_off(
    name: str, scale: float, tmp_path: Path
) -> None:
    row = to_table(SAMPLES[0], columns_of().arrow_schema)
    values = np.array(row[name].to_pylist()[0]) * scale
    column = pa.array([values.tolist()], pa.list_(pa.list_(pa.float32(), 3)))
    pq.write_table(
        row.set_column(row.column_names.index(name), name, column), tmp_path / "train.parquet"
    )
    with pytest.raises(InputError, match=r"train\.parquet.*from .* are not u?int8"):
        open_scenes(tmp_path)[0]


def test_what_is_being_written_is_not_read(prepared: Path) -> None:
    write_prepared(prepared / ".train.x1", [SAMPLES[0]])
    assert len(open_scenes(prepared)) == len(SAMPLES)


def test_a_source_can_be_sent_to_a_worker(prepared: Path) -> None:
    scenes = pickle.loads(pickle.dumps(open_scenes(prepared)))
    assert_same(scenes[3], SAMPLES[3].decode(), degrees=0.5)


def test_a_parquet_file_of_something_else_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match="has no column color, coord"):
        open_scenes(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"train\.parquet is damaged"):
        open_scenes(tmp_path)


def test_a_damaged_row_is_named_and_others_are_read(prepared: Path) -> None:
    file = next(prepared.rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    group = pq.read_metadata(file).row_group(1)
    start = group.column(2).data_page_offset
    content[start : start + 200] = bytes(200)
    file.write_bytes(content)
    scenes = open_scenes(prepared)
    with pytest.raises(InputError, match=str(file)):
        scenes[1]
    assert scenes[2].name == "room_2"


# --- the published layout ------------------------------------------------------------------------


@pytest.mark.parametrize("working", ["data/rooms", "data", "/home/someone/data/rooms", "."])
def test_published_samples_are_found_below_whatever_folder_holds_them(
    working: str, tmp_path: Path
) -> None:
    folder = write_published(tmp_path / "elsewhere", SAMPLES, working)
    scenes = open_scenes(folder)
    assert len(scenes) == len(SAMPLES)
    for number, wanted in enumerate(SAMPLES):
        assert_same(scenes[number], wanted.decode())


def test_published_data_may_lie_as_the_list_says(tmp_path: Path) -> None:
    write_published(tmp_path / "data" / "rooms", SAMPLES)
    (tmp_path / "data" / "rooms" / "splits").rename(tmp_path / "splits")
    assert_same(open_scenes(tmp_path)[1], SAMPLES[1].decode())


def test_published_points_may_lack_normals_and_images_and_have_colours_as_floats(
    tmp_path: Path,
) -> None:
    folder = write_published(tmp_path, [made(0, images=0)])
    listing = folder / "splits" / "train.json"
    listing.write_text(json.dumps({"room_0": {"pointclouds": "data/rooms/train/room_0"}}))
    points = folder / "train" / "room_0"
    (points / "normal.npy").unlink()
    for scale in (1, 255):
        np.save(points / "color.npy", made(0).color / 255 * scale)
        sample = open_scenes(folder)[0]
        np.testing.assert_array_equal(sample.color, made(0).color)
    assert not sample.normal.any()
    assert sample.images == sample.seen == ()


@pytest.mark.parametrize("columns", [0, 1, 3])
def test_of_several_labels_a_published_point_the_first_is_read(
    columns: int, tmp_path: Path
) -> None:
    sample = labelled(0)
    folder = write_published(tmp_path, [sample])
    for part, labels in (("segment", sample.segment), ("instance", sample.instance)):
        assert labels is not None
        others = np.full((len(labels), max(columns - 1, 0)), -100)
        several = np.concatenate([labels[:, None], others], axis=1) if columns else labels
        np.save(folder / "train" / sample.name / f"{part}.npy", several)
    given = open_scenes(folder)[0]
    np.testing.assert_array_equal(given.segment, sample.segment)
    np.testing.assert_array_equal(given.instance, sample.instance)


def test_published_rooms_of_one_name_in_two_areas_are_two_scenes(tmp_path: Path) -> None:
    folder = write_published(tmp_path, SAMPLES)
    assert list(open_scenes(folder).scenes) == [sample.name for sample in SAMPLES]
    listing = folder / "splits" / "train.json"
    entries = json.loads(listing.read_text())
    for number, entry in enumerate(entries.values()):
        area = f"Area_{number + 1}"
        (folder / area).mkdir()
        Path(folder, entry["pointclouds"].removeprefix("data/rooms/")).rename(
            folder / area / "hall"
        )
        entry.update(pointclouds=f"data/rooms/{area}/hall", images=[], correspondences=[])
    listing.write_text(json.dumps(entries))
    scenes = PublishedScenes(folder, "train")
    assert list(scenes.scenes)[:2] == ["Area_1/hall", "Area_2/hall"]
    assert scenes.encoded(1).scene == "Area_2/hall"


def test_a_list_without_a_folder_of_points_is_refused(tmp_path: Path) -> None:
    listing = write_published(tmp_path, SAMPLES) / "splits" / "train.json"
    entries = json.loads(listing.read_text())
    del entries["room_3"]["pointclouds"]
    listing.write_text(json.dumps(entries))
    with pytest.raises(InputError, match='room_3 has no folder under "pointclouds"'):
        open_scenes(tmp_path)


def test_a_list_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write_published(tmp_path / "rooms", SAMPLES)
    (tmp_path / "secret.png").write_bytes(SAMPLES[0].images[0])
    listing = folder / "splits" / "train.json"
    entries = json.loads(listing.read_text())
    entries["room_0"]["images"][0] = "data/rooms/../secret.png"
    listing.write_text(json.dumps(entries))
    scenes = open_scenes(folder)
    with pytest.raises(InputError, match="leads out of"):
        scenes[0]
    assert scenes[1].name == "room_1"


@pytest.mark.parametrize(
    ("file", "content"),
    [("coord.npy", None), ("coord.npy", b"?"), ("0.npy", b""), ("1.png", b"?"), ("0.png", None)],
)
def test_a_broken_file_of_a_published_sample_is_named(
    file: str, content: bytes | None, tmp_path: Path
) -> None:
    folder = write_published(tmp_path, SAMPLES)
    broken = folder / "train" / "room_2" / file
    if content is None:
        broken.unlink()
    else:
        broken.write_bytes(content)
    with pytest.raises(InputError, match="room_2"):
        open_scenes(folder)[2]


def test_surveyed_coordinates_of_a_published_scene_keep_their_millimetres(tmp_path: Path) -> None:
    folder = write_published(tmp_path, SAMPLES)
    file = folder / "train" / "room_2" / "coord.npy"
    near = open_scenes(folder)[2].coord
    np.save(file, near.astype(np.float64) + np.array([448_262.25, 5_411_932.5, 312.75]))
    moved = open_scenes(folder)[2].coord
    np.testing.assert_allclose(moved - moved[0], near - near[0], atol=1e-5)
    assert np.abs(moved).max() < 1000


@pytest.mark.parametrize(
    ("listing", "reason"),
    [
        ("[", "no JSON"),
        ("[1]", "lists no samples"),
        ("{}", "lists no samples"),
        ('{"a": {"images": []}}', "a has no folder"),
        ('{"a": {"pointclouds": "data/x/y"}}', "no such folder lies below"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(listing: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.json").write_text(listing)
    with pytest.raises(InputError, match=reason):
        open_scenes(tmp_path)


def test_a_missing_published_split_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no split 'val'. It has: train"):
        open_scenes(write_published(tmp_path, SAMPLES), split="val")


# --- the Hub, and all of them --------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True])
def test_a_data_set_on_the_hub_gives_the_same_samples_streamed_or_not(
    streaming: bool, on_hub: str
) -> None:
    scenes = pickle.loads(pickle.dumps(open_scenes(on_hub, streaming=streaming)))
    for number in (4, 0, 2):
        assert_same(scenes[number], SAMPLES[number].decode(), degrees=0.5)


def test_streaming_fetches_what_is_asked_for_alone(on_hub: str, hub: FakeHub) -> None:
    scenes = open_scenes(on_hub, streaming=True)
    scenes[1]
    size = sum(len(content) for content in hub.repos["datasets/me/rooms"].at("main").values())
    first, last = map(int, hub.ranges[-1].removeprefix("bytes=").split("-"))
    assert last - first < size / 3


def test_a_streamed_data_set_stays_at_the_commit_it_was_opened_at(
    on_hub: str, hub: FakeHub
) -> None:
    scenes = open_scenes(on_hub, streaming=True)
    repo = hub.repos["datasets/me/rooms"]
    repo.commit(dict.fromkeys(repo.at("main"), b"changed"))
    assert_same(scenes[3], SAMPLES[3].decode(), degrees=0.5)


def test_a_revision_is_followed(on_hub: str, hub: FakeHub) -> None:
    repo = hub.repos["datasets/me/rooms"]
    old = repo.branches["main"]
    repo.commit(dict.fromkeys(repo.at("main"), b"changed"))
    assert len(open_scenes(f"{on_hub}@{old}")) == len(SAMPLES)


def test_an_unreachable_hub_is_not_a_broken_sample(on_hub: str, hub: FakeHub) -> None:
    scenes = open_scenes(on_hub, streaming=True)
    hub.repos["datasets/me/rooms"].refusal = "GatedRepo"
    with pytest.raises(HubError, match="Could not fetch"):
        scenes[0]


def test_a_name_that_the_hub_does_not_know_is_said(hub: FakeHub) -> None:
    with pytest.raises(HubError, match="no folder me/nothing, and the Hub shows no data set"):
        open_scenes("me/nothing")


def test_several_places_are_one_source(prepared: Path, tmp_path: Path) -> None:
    more = write_published(tmp_path / "more", [made(8), made(9)])
    scenes = open_scenes([prepared, str(more)])
    assert isinstance(scenes, JoinedScenes)
    names = [scenes[k].name for k in range(len(scenes))]
    assert names == [f"room_{k}" for k in (0, 1, 2, 3, 4, 8, 9)]
    with pytest.raises(IndexError):
        scenes[7]


def test_a_place_without_scenes_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prepare rgbd SRC OUT"):
        open_scenes(tmp_path)
    with pytest.raises(InputError, match="There is no folder"):
        open_scenes(tmp_path / "nowhere")
    with pytest.raises(InputError, match="No data"):
        open_scenes([])
