"""`concerto download`, from a Hub on loopback."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from command import run_here
from concerto import HubError, InputError
from concerto.cli.download import download
from conftest import GOLDEN, SMALL, Loader
from hub_server import FakeHub, Repo


@pytest.fixture
def served(hub: FakeHub, saved: dict[str, bytes]) -> FakeHub:
    """A Hub with one published file and a repo of our own."""
    hub.repos["Pointcept/Concerto"] = Repo({"concerto_base.pth": GOLDEN.read_bytes()})
    hub.repos["me/mine"] = Repo(saved)
    return hub


def test_what_was_fetched_loads_without_a_connection(
    served: FakeHub, load: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    download(("concerto-base", "me/mine", "concerto-tiny"), cache_dir=load.cache)
    base, mine, tiny = capsys.readouterr().out.splitlines()
    assert Path(base).read_bytes() == GOLDEN.read_bytes()
    assert Path(mine).read_bytes() == served.repos["me/mine"].at("main")["model.safetensors"]
    assert tiny.endswith("model.safetensors  (ships with the library)")
    served.requests.clear()
    assert load("concerto-base", local_files_only=True).config.license == "cc-by-nc-4.0"
    assert load("me/mine", local_files_only=True).config == SMALL
    assert served.requests == []


def test_the_rest_is_fetched_where_one_fails(
    served: FakeHub, load: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(HubError, match=r"^2 of 3 names failed:\n") as failed:
        download(("concerto-large-clip", "me/none", "me/mine"), cache_dir=load.cache)
    clip, none = str(failed.value).splitlines()[1:]
    assert clip.startswith("  concerto-large-clip: concerto-large-clip cannot be loaded: nobody")
    assert none.startswith("  me/none: The Hub shows no repo me/none")
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert load("me/mine", local_files_only=True).config == SMALL


def test_a_revision_and_a_file_can_be_chosen(
    served: FakeHub, load: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = served.repos["Pointcept/Concerto"]
    old = repo.branches["main"]
    repo.commit({"concerto_base.pth": b"new", "concerto_small.pth": b"small"})
    download(("concerto-base",), revision=old, cache_dir=load.cache)
    download(("Pointcept/Concerto",), filename="concerto_small.pth", cache_dir=load.cache)
    fetched = [Path(line).read_bytes() for line in capsys.readouterr().out.splitlines()]
    assert fetched == [GOLDEN.read_bytes(), b"small"]


def test_a_single_failure_is_said_as_it_is(load: Loader) -> None:
    with pytest.raises(HubError, match=r"^concerto-large-clip cannot be loaded: nobody has"):
        download(("concerto-large-clip",), cache_dir=load.cache)


def test_a_head_comes_with_its_encoder(
    served: FakeHub, load: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"concerto_large_linear_prob_head_sc.pth": b"head", "concerto_large.pth": b"encoder"}
    served.repos["Pointcept/Concerto"] = Repo(files)
    download(("concerto-large-scannet",), cache_dir=load.cache)
    fetched = [Path(line).read_bytes() for line in capsys.readouterr().out.splitlines()]
    assert fetched == [b"head", b"encoder"]


def test_heads_and_translators_of_ours_come_with_the_encoder_that_they_were_saved_without(
    served: FakeHub, load: Loader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, config in {
        "head": {"model_type": "concerto-segmenter", "over": {"source": "me/mine"}},
        "map": {"encoder_inside": False, "encoder_source": "concerto-base"},
        "whole": {"encoder_inside": True, "encoder_source": "concerto-base", "over": None},
        "torn": ["no config"],
    }.items():
        files = {"config.json": json.dumps(config).encode(), "model.safetensors": kind.encode()}
        served.repos[f"me/{kind}"] = Repo(files)
    with pytest.raises(
        HubError, match=r"1 of 4 names failed:\n  me/torn: .* holds list, not a conf"
    ):
        download(("me/torn", "me/head", "me/map", "me/whole"), cache_dir=load.cache)
    fetched = [Path(line).read_bytes() for line in capsys.readouterr().out.splitlines()]
    mine = served.repos["me/mine"].at("main")["model.safetensors"]
    assert fetched == [b"torn", b"head", mine, b"map", GOLDEN.read_bytes(), b"whole"]


def test_no_names_are_a_mistake() -> None:
    with pytest.raises(InputError, match=r"concerto download NAME"):
        download(())


def test_the_command_prints_paths_and_exits_with_one_where_something_failed(
    served: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    process = run_here("download", "me/mine", "concerto-larg", code=1, offline=False)
    assert Path(process.stdout.strip()).is_relative_to(tmp_path / "cache")
    assert "error: 1 of 2 names failed:\n  concerto-larg: There is no file" in process.stderr
