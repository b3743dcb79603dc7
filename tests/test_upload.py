"""Uploads with the real client, to a Hub on loopback; and the card that goes with them."""

from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants

from concerto import Concerto, ConcertoConfig, ConfigError, HubError
from concerto.card import model_card
from concerto.hub import Reach, locate
from concerto.known_models import MODELS
from conftest import GOLDEN, SMALL, Loader
from hub_server import FakeHub, Repo

pytestmark = pytest.mark.usefixtures("logged_in")
FILES = {"config.json", "model.safetensors", "README.md"}


def test_what_is_pushed_is_what_is_read_back(hub: FakeHub, model: Concerto, load: Loader) -> None:
    url = model.push_to_hub("me/my-concerto", commit_message="A first one")
    repo = hub.repos["me/my-concerto"]
    assert url == f"{hub.url}/me/my-concerto/commit/{repo.branches['main']}"
    assert repo.messages == ["initial commit", "A first one"]
    assert repo.at("main").keys() == FILES
    assert list(hub.large.values()) == [repo.at("main")["model.safetensors"]]
    again = load("me/my-concerto")
    assert again.config == model.config
    wanted = model.state_dict()
    assert again.state_dict().keys() == wanted.keys()
    assert all(torch.equal(again.state_dict()[name], wanted[name]) for name in wanted)


def test_a_second_push_replaces_the_first_in_one_commit(
    hub: FakeHub, model: Concerto, load: Loader
) -> None:
    model.push_to_hub("me/my-concerto")
    Concerto(SMALL.replace(license="mit")).push_to_hub("me/my-concerto")
    repo = hub.repos["me/my-concerto"]
    assert len(repo.messages) == 3
    assert "license: mit" in repo.at("main")["README.md"].decode()
    assert load("me/my-concerto").config.license == "mit"


def test_a_private_repo_stays_private(hub: FakeHub, model: Concerto, load: Loader) -> None:
    model.push_to_hub("me/secret", private=True, token="mine")
    assert hub.repos["me/secret"].private
    assert load("me/secret").config == SMALL
    with pytest.raises(HubError, match="no repo me/secret"):
        locate("me/secret", reach=Reach("yours", load.cache / "yours"))


def test_a_branch_is_made_and_written_and_main_is_left_alone(
    hub: FakeHub, model: Concerto, load: Loader
) -> None:
    for _ in range(2):
        model.push_to_hub("me/my-concerto", revision="v2/trial")
    repo = hub.repos["me/my-concerto"]
    assert repo.at("main") == {}
    assert repo.at("v2/trial").keys() == FILES
    assert load("me/my-concerto", revision="v2/trial").config == SMALL


def test_a_repo_without_an_owner_is_ones_own(hub: FakeHub, model: Concerto) -> None:
    model.push_to_hub("my-concerto")
    card = hub.repos["me/my-concerto"].at("main")["README.md"].decode()
    assert 'concerto.from_pretrained("me/my-concerto")' in card


def test_a_saved_folder_is_pushed_with_the_card_it_holds(
    hub: FakeHub, model: Concerto, tmp_path: Path
) -> None:
    folder = tmp_path / "my-concerto"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\nMine.\n")
    (folder / "notes.txt").write_text("not for the Hub")
    url = model.save_pretrained(folder, push_to_hub=True, repo_id="me/other", private=True)
    assert url.startswith(f"{hub.url}/me/other/commit/")
    assert hub.repos["me/other"].private
    files = hub.repos["me/other"].at("main")
    assert files == {name: (folder / name).read_bytes() for name in FILES}
    assert files["README.md"].endswith(b"Mine.\n")
    model.save_pretrained(folder, push_to_hub=True)
    assert hub.repos["me/my-concerto"].at("main") == files


def test_options_that_nothing_would_come_of_are_refused_before_anything_is_written(
    model: Concerto, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    for options in ({"repo_id": "me/x"}, {"private": True}):
        with pytest.raises(ConfigError, match=rf"{next(iter(options))} would.*push_to_hub=True"):
            model.save_pretrained(folder, **options)
    for upload in (False, True):
        with pytest.raises(ConfigError, match=r"has no option nonsense.*takes repo_id, private"):
            model.save_pretrained(folder, push_to_hub=upload, nonsense=1)
    assert not folder.exists()
    # As huggingface_hub's own callers may: what it takes, and nothing in it.
    model.save_pretrained(folder, config=None, repo_id=None, token=None, model_card_kwargs=None)
    assert {file.name for file in folder.iterdir()} == FILES


def test_weights_that_derive_from_published_ones_say_so(
    hub: FakeHub, load: Loader, tmp_path: Path
) -> None:
    hub.repos["Pointcept/Concerto"] = Repo({"concerto_base.pth": GOLDEN.read_bytes()})
    load("concerto-base").push_to_hub("me/tuned")
    again = load("me/tuned")
    assert (again.config.license, again.config.base_model) == ("cc-by-nc-4.0", "Pointcept/Concerto")
    again.push_to_hub("me/tuned-twice")
    for repo in ("me/tuned", "me/tuned-twice"):
        file = tmp_path / "README.md"
        file.write_bytes(hub.repos[repo].at("main")["README.md"])
        assert ModelCard.load(file).data.to_dict() == {
            "base_model": "Pointcept/Concerto",
            "library_name": "concerto",
            "license": "cc-by-nc-4.0",
            "pipeline_tag": "feature-extraction",
            "tags": ["point-cloud", "3d", "self-supervised"],
        }


def test_an_unknown_licence_is_left_out_of_the_metadata() -> None:
    data = ModelCard(model_card(SMALL)).data.to_dict()
    assert "license" not in data
    assert "base_model" not in data


@pytest.mark.parametrize("config", [model.config for model in MODELS])
def test_a_card_says_how_to_use_the_model(config: ConcertoConfig) -> None:
    card = model_card(config, "me/mine")
    assert 'model = concerto.from_pretrained("me/mine")' in card
    assert f"{sum(config.channels[stage] for stage in config.default_stages)} features" in card
    assert ("Untrained" in card) == config.untrained


@pytest.mark.parametrize(
    ("repo_id", "token", "message"),
    [
        ("me/new", None, r"Could not upload to me/new: the Hub knows no token.*hf auth login"),
        ("me/new", "wrong", r"Could not upload to me/new: the Hub knows no token.*token="),
        ("you/new", "mine", r"Could not upload to you/new: the token may not write there"),
        ("you/public", "mine", r"Could not upload to you/public: the token may not write there"),
        ("you/public", None, r"Could not upload to you/public: the Hub knows no token"),
        ("me/a/b", "mine", r"'me/a/b' cannot be a repo: .*Pass \"org/name\" or \"name\""),
        ("me/new@v2", "mine", r"'me/new@v2' cannot be a repo"),
        ("me/my concerto", "mine", r"'me/my concerto' cannot be a repo"),
        ("", "mine", r"'' cannot be a repo"),
    ],
)
def test_a_push_that_is_refused_says_why_and_leaves_nothing(
    hub: FakeHub,
    model: Concerto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repo_id: str,
    token: str | None,
    message: str,
) -> None:
    hub.repos["you/public"] = Repo({"README.md": b"hello"})
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=message):
        model.push_to_hub(repo_id, token=token)
    with pytest.raises(HubError, match=message):
        model.save_pretrained(tmp_path / "folder", push_to_hub=True, repo_id=repo_id, token=token)
    assert hub.repos.keys() == {"you/public"}
    assert hub.repos["you/public"].at("main") == {"README.md": b"hello"}


def test_an_upload_that_breaks_off_commits_nothing(hub: FakeHub, model: Concerto) -> None:
    hub.refuse_large = True
    with pytest.raises(HubError, match=r"Could not upload to me/my-concerto: the storage is full"):
        model.push_to_hub("me/my-concerto")
    assert hub.repos["me/my-concerto"].at("main") == {}
    hub.refuse_large = False
    model.push_to_hub("me/my-concerto")
    assert hub.repos["me/my-concerto"].at("main").keys() == FILES


def test_a_card_that_the_hub_does_not_take_is_said_before_anything_is_uploaded(
    hub: FakeHub, model: Concerto, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("---\n- no mapping\n---\n")
    with pytest.raises(HubError, match=r"me/mine: README\.md: metadata must be a mapping\."):
        model.save_pretrained(tmp_path, push_to_hub=True, repo_id="me/mine")
    assert hub.large == {}
    assert hub.repos["me/mine"].at("main") == {}


def test_without_a_connection_a_push_says_so(
    hub: FakeHub, model: Concerto, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens on port 9 of loopback.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"Could not upload to me/new: .*refused"):
        model.push_to_hub("me/new")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=r"Could not upload to me/new: .*HF_HUB_OFFLINE"):
        model.push_to_hub("me/new")
    assert hub.requests == []
