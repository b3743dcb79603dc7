"""The protocol without steps: in several processes, and where a scene cannot be encoded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from command import run
from concerto import Concerto, ConcertoWarning, InputError
from concerto.training import probe as probe_command
from concerto.training.probe import probe
from concerto.training.scenes.encoded import EncodedSample
from concerto.training.scenes.samples import Sample
from labelled_rooms import CLASSES, room
from made_samples import write_prepared
from small_probes import config, make_place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms to learn from and to test on, and an encoder with random weights."""
    return make_place(tmp_path_factory.mktemp("probe"))


@pytest.mark.filterwarnings("ignore::concerto.errors.ConcertoWarning")
def test_of_several_processes_one_works_and_the_result_is_that_of_one(
    place: Path, tmp_path: Path
) -> None:
    options = ["--encoder", place / "encoder", "--data", place / "data", "--protocol", "cached"]
    said = run(
        *[*options, "--output", tmp_path / "two"],
        through=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        module="concerto.training.probe",
        ACCELERATE_USE_CPU="true",
        OMP_NUM_THREADS="1",
    )
    assert said.stderr.count("is the work of a single process") == 1
    assert said.stdout.count("weight decay") == 1
    probe(config(place, tmp_path / "one", protocol="cached"))
    one, two = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def spread_out(number: int) -> EncodedSample:
    """A room with a point so far away that no grid of voxels reaches it."""
    coord = room(number).coord.copy()
    coord[0, 0] = 3000
    return replace(room(number), coord=coord)


def test_a_scene_that_cannot_be_encoded_is_left_out(place: Path, tmp_path: Path) -> None:
    rooms = [spread_out(k) if k == 3 else room(k) for k in range(8)]
    data = (str(write_prepared(tmp_path / "data", rooms, classes=CLASSES)),)
    with pytest.warns(ConcertoWarning, match="Left out: Sample 'room_3'"):
        probe(config(place, tmp_path / "run", protocol="cached", data=data))
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_a_scene_that_fails_without_a_word_is_told_by_the_kind_of_error(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = probe_command.frozen_features

    def silent(model: Concerto, sample: Sample, *rest: Any, **options: Any) -> Any:
        if sample.name == "room_3":
            raise OSError
        return read(model, sample, *rest, **options)

    monkeypatch.setattr(probe_command, "frozen_features", silent)
    with pytest.warns(ConcertoWarning, match=r"Left out: OSError\(\)"):
        probe(config(place, tmp_path / "run", protocol="cached"))


def test_a_scene_is_learnt_from_by_its_whole_samples_where_another_is_broken(
    place: Path, tmp_path: Path
) -> None:
    broken = replace(spread_out(0), name="broken")
    rooms = [broken, *(room(k) for k in range(4))]
    data = (str(write_prepared(tmp_path / "data", rooms, classes=CLASSES)),)
    with pytest.warns(ConcertoWarning, match="Left out: Sample 'broken'"):
        probe(config(place, tmp_path / "run", protocol="cached", data=data))
    rooms = [room(k) for k in range(4)]
    data = (str(write_prepared(tmp_path / "whole", rooms, classes=CLASSES)),)
    probe(config(place, tmp_path / "other", protocol="cached", data=data))
    one, other = (load_file(tmp_path / n / "model/model.safetensors") for n in ("run", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.filterwarnings("ignore::concerto.errors.ConcertoWarning")
def test_scenes_of_which_none_can_be_encoded_end_the_run(place: Path, tmp_path: Path) -> None:
    rooms = [spread_out(k) for k in range(3)]
    data = (str(write_prepared(tmp_path / "data", rooms, classes=CLASSES)),)
    with pytest.raises(InputError, match="3 of the 3 scenes read so far are broken"):
        probe(config(place, tmp_path / "run", protocol="cached", data=data))
