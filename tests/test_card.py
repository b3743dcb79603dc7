"""Cards tell others what they can use: names on the Hub, and no places on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from concerto.card import public_name


@pytest.mark.parametrize(
    "name",
    [
        "org/name",
        "org/name@refs/pr/1",
        "concerto-small",
        "minilm",
        "ViT-L-14/openai",
        "hf-hub:org/name",
        "sentence:org/name",
        "open_clip:ViT-B-16/openai",
        "module.of:attribute",
        "",
    ],
)
def test_names_that_others_can_use_stay_as_they_are(name: str) -> None:
    assert public_name(name) == name


def test_a_folder_called_as_a_repo_is_does_not_make_it_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openai").mkdir()
    monkeypatch.chdir(tmp_path)
    assert public_name("ViT-L-14/openai") == "ViT-L-14/openai"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/home/me/rooms", "`rooms`"),
        ("~/rooms/", "`rooms`"),
        ("private/scans", "`scans`"),
        ("./gone/scans", "`scans`"),
        (".", "`here`"),
        ("sentence:/home/me/mini", "sentence:`mini`"),
        ("sentence:private/scans", "sentence:`scans`"),
        ("local-dir:../mini", "local-dir:`mini`"),
        ("ViT-B-32/private/clip.pt", "ViT-B-32/`clip.pt`"),
        ("open_clip:ViT-B-32//home/me/clip.pt", "open_clip:ViT-B-32/`clip.pt`"),
    ],
)
def test_of_a_path_only_its_last_part_is_shown(
    name: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "private" / "scans").mkdir(parents=True)
    (tmp_path / "here" / "private" / "clip.pt").touch()
    monkeypatch.chdir(tmp_path / "here")
    assert public_name(name) == shown
