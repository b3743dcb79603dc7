"""`concerto segment`, through its command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from saved_heads import save_over

import concerto
from command import run_here
from concerto import Segmenter, SegmenterConfig
from concerto.heads import LinearConfig
from conftest import SMALL, random_cloud


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a segmenter and a scan."""
    folder = tmp_path_factory.mktemp("segment")
    torch.manual_seed(0)
    config = SegmenterConfig(SMALL, LinearConfig(), ("wall", "chair"), ((255, 0, 0), (0, 0, 255)))
    Segmenter(config).save_pretrained(folder / "model")
    concerto.write(folder / "scan.ply", random_cloud(500))
    return folder


def test_classes_are_written_and_told(place: Path) -> None:
    files = (place / "scan.ply", "--model", place / "model", "-o", place / "out.npz")
    said = run_here("segment", *files)
    written = np.load(place / "out.npz")
    wanted = concerto.from_pretrained(place / "model")(concerto.read(place / "scan.ply")).numpy()
    np.testing.assert_array_equal(written["class"], wanted)
    red = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    np.testing.assert_array_equal(written["color"], red[wanted])
    share = (wanted == 1).mean()
    assert f"1  chair  {share:6.1%}  #0000ff" in said.stdout


@pytest.mark.parametrize("suffix", [".png", ".html", ".ply"])
def test_every_kind_of_output_is_made(place: Path, suffix: str) -> None:
    from concerto.cli.segment import report

    found = torch.tensor([0, 1] * 249 + [-1, -1])
    output = place / f"out{suffix}"
    report(output, random_cloud(500), found, ("a", "b"), torch.eye(3)[:2], "scan")
    assert output.stat().st_size > 1000


def test_an_encoder_cannot_segment(place: Path) -> None:
    said = run_here(
        "segment", place / "scan.ply", "--model", "concerto-tiny", "-o", "x.png", code=1
    )
    assert "concerto-tiny is an encoder, and knows no classes" in said.stderr
    said = run_here("segment", place / "scan.ply", "-o", "x.gif", code=1)
    assert "x.gif must end in one of .ply, .png" in said.stderr


def test_a_head_saved_alone_is_told_where_its_encoder_lies(place: Path, tmp_path: Path) -> None:
    segmenter = concerto.from_pretrained(place / "model")
    save_over(tmp_path / "head", tmp_path / "encoder", segmenter)
    (tmp_path / "encoder").rename(tmp_path / "moved")
    options = (place / "scan.ply", "--model", tmp_path / "head", "-o", tmp_path / "out.npz")
    said = run_here("segment", *options, code=1)
    assert said.stderr.rstrip().endswith("If it lies elsewhere, pass --encoder to segment.")
    run_here("segment", *options, "--encoder", tmp_path / "moved")
    wanted = segmenter(concerto.read(place / "scan.ply")).numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["class"], wanted)
    whole = (place / "scan.ply", "--model", place / "model", "-o", tmp_path / "out.npz")
    said = run_here("segment", *whole, "--encoder", "concerto-tiny", code=1)
    assert "brings its own encoder; --encoder 'concerto-tiny' is for heads" in said.stderr
