"""Which scenes and which labels are learnt from, and that a scene in several samples is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from concerto import ConcertoWarning, InputError
from concerto.training.scenes.groups import distinct_samples, group_by_scene
from concerto.training.scenes.labelled import (
    Chosen,
    ClassesOf,
    SomeLabels,
    choose_scenes,
    count_classes,
    labelled_samples,
)
from concerto.training.scenes.sources import open_scenes
from labelled_rooms import CLASSES, repeated, room
from made_samples import labelled, made, write_prepared, write_published


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rooms."""
    folder = tmp_path_factory.mktemp("rooms")
    return write_prepared(folder / "data", [room(k) for k in range(6)], classes=CLASSES).parent


def test_fractions_of_scenes_hold_one_another(place: Path) -> None:
    source = ClassesOf(open_scenes(place / "data"), CLASSES)
    few, more = (choose_scenes(source, share, seed=3) for share in (0.34, 0.67))
    names = [{one[k].name for k in range(len(one))} for one in (few, more)]
    assert [len(one) for one in names] == [2, 4]
    assert names[0] < names[1]
    assert len(choose_scenes(source, 0.01, 0)) == 1
    with pytest.raises(InputError, match="a share of them"):
        choose_scenes(source, 0.0, 0)


def test_a_scene_in_several_samples_is_one(tmp_path: Path) -> None:
    """Once chosen, once a fifth, once counted."""
    folder = write_prepared(tmp_path / "data", repeated(6), classes=CLASSES)
    source = ClassesOf(open_scenes(folder), CLASSES)
    assert group_by_scene(source) == tuple((2 * k, 2 * k + 1) for k in range(6))
    half = choose_scenes(source, 0.5, seed=0)
    assert sorted(half.scenes) == sorted(2 * list(dict.fromkeys(half.scenes)))
    assert len(half) == 6
    once = Chosen(half, distinct_samples(half))
    assert list(once.scenes) == list(dict.fromkeys(half.scenes))
    np.testing.assert_array_equal(2 * count_classes(once), count_classes(half))


def test_of_a_scene_s_samples_one_that_cannot_be_read_stays_beside_one_that_can(
    tmp_path: Path,
) -> None:
    folder = write_published(tmp_path / "data", [room(k) for k in range(3)])
    listing = folder / "splits" / "train.json"
    entries = json.loads(listing.read_text())
    listing.write_text(json.dumps(entries | {f"{name} again": e for name, e in entries.items()}))
    (folder / "train" / "room_1" / "coord.npy").write_bytes(b"broken")
    source = open_scenes(folder)
    assert group_by_scene(source) == ((0, 3), (1, 4), (2, 5))
    assert distinct_samples(source) == (0, 1, 2, 4)


def test_a_scene_in_parts_has_so_many_labels_in_all(tmp_path: Path) -> None:
    parts = [replace(room(k), name=f"part_{k}", scene="whole") for k in range(3)]
    folder = write_prepared(tmp_path / "data", [*parts, room(3)], classes=CLASSES)
    source = ClassesOf(open_scenes(folder), CLASSES)
    assert distinct_samples(source) == (0, 1, 2, 3)

    def kept(points: int) -> list[np.ndarray]:
        some = SomeLabels(source, points, seed=1)
        return [np.flatnonzero(some[k].labels >= 0) for k in (2, 0, 1, 3)]

    few, more = kept(20), kept(50)
    assert sum(map(len, few[:3])) == len(few[3]) == 20
    assert all(map(len, few))
    for rows, others in zip(few, more, strict=True):
        assert set(rows) < set(others)


def test_labels_that_are_kept_do_not_hang_on_other_scenes(place: Path) -> None:
    source = ClassesOf(open_scenes(place / "data"), CLASSES)
    alone = SomeLabels(Chosen(source, (4,)), 20, seed=1)[0]
    np.testing.assert_array_equal(alone.segment, SomeLabels(source, 20, seed=1)[4].segment)


def test_scenes_of_two_places_are_different_ones(tmp_path: Path) -> None:
    one = write_prepared(tmp_path / "one", repeated(1), classes=CLASSES)
    other = write_published(tmp_path / "other", repeated(1))
    both = open_scenes([one, other])
    # The published layout has a folder of points for each of these samples.
    assert group_by_scene(both) == ((0, 1), (2,), (3,))


def test_so_many_points_of_a_scene_keep_their_label_always_the_same(place: Path) -> None:
    source = ClassesOf(open_scenes(place / "data"), CLASSES)
    some = SomeLabels(source, 20, seed=1)
    first, again = some[2].segment, some[2].segment
    assert first is not None
    np.testing.assert_array_equal(first, again)
    assert (first >= 0).sum() == 20
    whole = source[2].segment
    assert whole is not None
    np.testing.assert_array_equal(first[first >= 0], whole[first >= 0])


def test_classes_can_be_chosen_and_put_in_another_order(place: Path) -> None:
    opened = open_scenes(place / "data")
    chosen = ClassesOf(opened, ("lamp", "wall"))
    before, after = opened[0].segment, chosen[0].segment
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after, np.where(before == 1, 1, -1))
    with pytest.raises(InputError, match=r"chairs; each must be named once .* floor, wall, lamp"):
        ClassesOf(opened, ("wall", "chairs"))
    with pytest.raises(InputError, match="each must be named once"):
        ClassesOf(opened, ("wall", "wall"))


def test_a_label_without_a_name_is_said_with_the_place_of_its_points(tmp_path: Path) -> None:
    folder = write_published(tmp_path, [room(0), room(1)])
    source = ClassesOf(open_scenes(folder), ("floor",))
    with pytest.raises(InputError, match=r"points in room_1: point .* class 1\."):
        source[1]


def test_labels_without_names_are_checked_beside_data_that_name_theirs(tmp_path: Path) -> None:
    named = write_prepared(tmp_path / "named", [room(0)], classes=CLASSES)
    wrong = replace(room(1), segment=np.full(400, len(CLASSES), np.int16))
    source = ClassesOf(open_scenes([named, write_published(tmp_path / "bare", [wrong])]), CLASSES)
    assert source[0].segment is not None
    with pytest.raises(InputError, match=r"points in 1/room_1: point 0 has class 3\."):
        source[1]


def test_classes_are_counted_without_reading_points_and_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [replace(room(k), name=f"part_{k}", scene="whole") for k in range(3)]
    one = write_prepared(tmp_path / "one", [*parts, room(3), made(0)], classes=CLASSES)
    other = write_published(tmp_path / "other", [room(4)])
    opened = ClassesOf(open_scenes([one, other]), ("wall", "floor"))
    source = SomeLabels(Chosen(opened, (0, 2, 3, 4, 5)), 30, seed=1)
    labels = [source[index].segment for index in range(5)]
    read, columns = pq.ParquetFile.read_row_group, set()

    def spy(file: pq.ParquetFile, *given: Any, **options: Any) -> Any:
        columns.update(options["columns"])
        return read(file, *given, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    for index, wanted in enumerate(labels):
        np.testing.assert_array_equal(source.segment(index), wanted)
    assert count_classes(source).sum() == 90
    assert columns == {"segment"}


def test_samples_come_without_images_where_none_are_wanted(tmp_path: Path) -> None:
    whole = replace(made(0), segment=labelled(0).segment, images=(b"broken",) * 2)
    prepared = write_prepared(tmp_path / "prepared", [whole], classes=CLASSES)
    published = write_published(tmp_path / "published", [whole])
    for folder in (prepared, published):
        with pytest.raises(InputError, match="image"):
            open_scenes(folder)[0]
        sample = open_scenes(folder, images=False)[0]
        assert sample.images == sample.seen == ()
        np.testing.assert_array_equal(sample.coord, whole.coord)
        np.testing.assert_array_equal(sample.segment, whole.segment)


def test_samples_without_labels_are_left_out_with_one_warning(tmp_path: Path) -> None:
    rooms = [replace(room(k), segment=None) if k % 2 else room(k) for k in range(5)]
    source = open_scenes(write_prepared(tmp_path / "some", rooms, classes=CLASSES))
    with pytest.warns(ConcertoWarning, match="^2 of the 5 samples have no labels") as told:
        assert labelled_samples(source) == (0, 2, 4)
    assert len(told) == 1
    none = open_scenes(write_prepared(tmp_path / "none", [rooms[1]], classes=CLASSES))
    with pytest.raises(InputError, match="None of the 1 samples has labels"):
        labelled_samples(none)


def test_data_without_names_or_labels_cannot_be_learnt_from(tmp_path: Path) -> None:
    plain = open_scenes(write_prepared(tmp_path / "plain", [made(0, images=0)]))
    with pytest.raises(InputError, match="pass --classes"):
        ClassesOf(plain, plain.classes)
    empty = replace(labelled(0), segment=np.full(60, -1, np.int16))
    source = open_scenes(write_prepared(tmp_path / "empty", [empty], classes=CLASSES))
    with pytest.raises(InputError, match="None of the points of the 1 samples has a label"):
        count_classes(source)
