"""What fine-tuning leaves can be loaded again, wherever its encoder came from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from concerto import Concerto, Segmenter
from concerto.training.probe import probe
from small_probes import config, make_place

pytestmark = pytest.mark.filterwarnings("ignore::concerto.errors.ConcertoWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms to learn from and to test on, and an encoder with random weights."""
    return make_place(tmp_path_factory.mktemp("probe"))


def test_adapters_over_weights_that_come_with_the_library_outlast_their_change(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(place, tmp_path, mode="lora", encoder="concerto-tiny", loop={"max_steps": 1})
    probe(given)
    monkeypatch.setattr("concerto.hub.packaged", lambda *_: place / "no such file")
    segmenter = Segmenter.from_pretrained(tmp_path / "model")
    assert segmenter.classes == ("floor", "wall", "lamp")


def test_adapters_over_a_file_of_the_hubs_cache_find_it_again(place: Path, tmp_path: Path) -> None:
    # As huggingface_hub keeps files: by their digests, with links that have their names.
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for name in ("model.safetensors", "config.json"):
        (blobs / name[:5]).write_bytes((place / "encoder" / name).read_bytes())
        (snapshot / name).symlink_to(blobs / name[:5])
    file = os.path.relpath(snapshot / "model.safetensors")
    probe(config(place, tmp_path / "run", mode="lora", encoder=file, loop={"max_steps": 1}))
    over = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["over"]
    assert Path(over["source"]).is_absolute()
    segmenter = Segmenter.from_pretrained(tmp_path / "run" / "model")
    assert segmenter.model.config == Concerto.from_pretrained(file).config
