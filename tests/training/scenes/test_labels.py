"""Labels and the names of their classes go through every form that samples are stored in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from concerto.errors import InputError
from concerto.training.prepare.card import dataset_card
from concerto.training.scenes.parquet_format import columns_of, from_table, to_table
from concerto.training.scenes.sources import open_scenes
from made_samples import assert_same, labelled, made, write_prepared, write_published

CLASSES = ("wall", "floor", "chair")
SAMPLES = [labelled(number) for number in range(3)]


def test_labels_and_class_names_come_back_from_parquet(tmp_path: Path) -> None:
    scenes = open_scenes(write_prepared(tmp_path, SAMPLES, classes=CLASSES))
    assert scenes.classes == CLASSES
    for number, wanted in enumerate(SAMPLES):
        sample = scenes[number]
        assert_same(sample, wanted.decode(), degrees=0.5)
        assert sample.segment is not None
        assert sample.instance is not None
        assert (sample.segment.dtype, sample.instance.dtype) == (np.int16, np.int32)


def test_datasets_knows_the_class_names(tmp_path: Path) -> None:
    import datasets

    write_prepared(tmp_path, SAMPLES, classes=CLASSES)
    rows = datasets.load_dataset(str(tmp_path), split="train", streaming=True)
    assert tuple(rows.features["segment"].feature.names) == CLASSES
    np.testing.assert_array_equal(next(iter(rows))["segment"], SAMPLES[0].segment)


def test_samples_without_labels_stand_among_labelled_ones(tmp_path: Path) -> None:
    scenes = open_scenes(write_prepared(tmp_path, [made(5), SAMPLES[1]], classes=CLASSES))
    assert (scenes[0].segment, scenes[0].instance) == (None, None)
    assert_same(scenes[1], SAMPLES[1].decode(), degrees=0.5)
    only_segment = replace(SAMPLES[0], instance=None)
    schema = columns_of(CLASSES).arrow_schema
    table = to_table(only_segment, schema).drop_columns(["instance"])
    assert_same(from_table(table, "here", CLASSES).decode(), only_segment.decode(), 0.5)


def test_data_without_class_names_has_no_labels(tmp_path: Path) -> None:
    scenes = open_scenes(write_prepared(tmp_path, SAMPLES))
    assert scenes.classes == ()
    assert scenes[0].segment is None


def test_labels_of_the_published_layout_are_read_and_negative_ones_are_none(
    tmp_path: Path,
) -> None:
    folder = write_published(tmp_path, SAMPLES)
    scenes = open_scenes(folder)
    assert scenes.classes == ()
    assert_same(scenes[2], SAMPLES[2].decode())
    assert SAMPLES[2].segment is not None
    foreign = np.where(SAMPLES[2].segment < 0, -100, SAMPLES[2].segment)[:, None]
    np.save(folder / "train" / "room_2" / "segment.npy", foreign.astype(np.int64))
    assert_same(scenes[2], SAMPLES[2].decode())
    floats = np.where(SAMPLES[2].segment < 0, np.nan, SAMPLES[2].segment)
    np.save(folder / "train" / "room_2" / "segment.npy", floats)
    assert_same(scenes[2], SAMPLES[2].decode())
    for wrong, told in ((np.full(60, 2**20), 1048576), (np.full(60, 2.7), 2.7)):
        np.save(folder / "train" / "room_2" / "segment.npy", wrong)
        with pytest.raises(InputError, match=rf"segment\.npy has label {told}"):
            scenes[2]


def test_a_label_that_is_no_class_is_refused_with_its_place_and_value(tmp_path: Path) -> None:
    wrong = replace(SAMPLES[0], segment=np.full(60, 3, np.int16))
    with pytest.raises(InputError, match=r"'room_0': point 0 has class 3.*60 of 60.*3 classes"):
        write_prepared(tmp_path / "refused", [wrong], classes=CLASSES)
    table = to_table(wrong, columns_of((*CLASSES, "lamp")).arrow_schema)
    pq.write_table(table.cast(columns_of(CLASSES).arrow_schema), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"train\.parquet, row 0 of group 0: point 0 has class 3"):
        open_scenes(tmp_path)[0]


def test_places_with_other_classes_are_not_mixed(tmp_path: Path) -> None:
    one = write_prepared(tmp_path / "one", SAMPLES, classes=CLASSES)
    same = write_prepared(tmp_path / "same", SAMPLES, classes=CLASSES)
    other = write_prepared(tmp_path / "other", SAMPLES, classes=("floor", "wall", "chair"))
    none = write_prepared(tmp_path / "none", [made(5)])
    assert open_scenes([none, one, same]).classes == CLASSES
    with pytest.raises(InputError, match=r"wall, floor, chair, and .* has floor, wall, chair"):
        _ = open_scenes([one, other]).classes


def test_the_card_names_the_classes(tmp_path: Path) -> None:
    card = dataset_card(write_prepared(tmp_path / "rooms", SAMPLES, classes=CLASSES), None)
    assert "| `segment` |" in card
    assert "The 3 classes: 0 wall, 1 floor, 2 chair. " in card
    plain = dataset_card(write_prepared(tmp_path / "plain", SAMPLES), None)
    assert "`segment`" not in plain
