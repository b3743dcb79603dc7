"""Downloads with the real client, from a Hub on loopback."""

import time
from contextlib import suppress
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download

from concerto import HubError
from concerto.hub import Reach, locate
from conftest import GOLDEN, SMALL, Loader
from hub_server import FakeHub, Repo

WEIGHTS = "/me/mine/resolve/main/model.safetensors"


@pytest.fixture
def repo(hub: FakeHub, saved: dict[str, bytes]) -> Repo:
    """A repo with a model in it, me/mine."""
    hub.repos["me/mine"] = Repo(saved)
    return hub.repos["me/mine"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits between its attempts; here it need not."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def test_a_model_is_fetched_once_and_then_comes_from_the_cache(
    hub: FakeHub, repo: Repo, load: Loader
) -> None:
    assert load("me/mine").config == SMALL
    assert hub.requests.count(("GET", WEIGHTS)) == 1
    hub.requests.clear()
    assert load("me/mine").config == SMALL
    assert set(hub.methods()) == {"HEAD"}


def test_a_new_state_of_a_repo_is_fetched_and_an_old_one_stays_reachable(
    repo: Repo, load: Loader, saved: dict[str, bytes]
) -> None:
    old = repo.branches["main"]
    config = saved["config.json"].replace(b'"license": null', b'"license": "mit"')
    repo.commit({"config.json": config})
    assert load("me/mine").config == SMALL.replace(license="mit")
    assert load(f"me/mine@{old}").config == SMALL
    assert load("me/mine", revision=old).config == SMALL


@pytest.mark.parametrize("at_commit", [False, True])
def test_offline_the_cache_serves_what_it_has(
    hub: FakeHub, repo: Repo, load: Loader, monkeypatch: pytest.MonkeyPatch, at_commit: bool
) -> None:
    source = f"me/mine@{repo.branches['main']}" if at_commit else "me/mine"
    load(source)
    hub.requests.clear()
    assert load(source, local_files_only=True).config == SMALL
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load(source).config == SMALL
    assert hub.requests == []


def test_offline_what_the_cache_lacks_is_said(
    hub: FakeHub, repo: Repo, load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = r"model\.safetensors of me/mine is not in the cache.*{}.*concerto-tiny"
    with pytest.raises(HubError, match=missing.format("local_files_only=True")):
        load("me/mine", local_files_only=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=missing.format("HF_HUB_OFFLINE")):
        load("me/mine")
    with pytest.raises(HubError, match=r"concerto_base\.pth of Pointcept/Concerto is not in the"):
        load("concerto-base")
    assert hub.requests == []


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_cannot_be_reached_is_said_and_the_cache_still_serves(
    repo: Repo, load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("me/mine")
    # Nothing listens on port 9 of loopback.
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    assert load("me/mine").config == SMALL
    with pytest.raises(HubError, match=r"model\.safetensors of me/other is not in the cache.*ref"):
        load("me/other")


def test_a_file_further_down_a_repo_has_the_config_beside_it_else_that_of_the_root(
    repo: Repo, load: Loader, saved: dict[str, bytes]
) -> None:
    config = saved["config.json"].replace(b'"license": null', b'"license": "mit"')
    weights = saved["model.safetensors"]
    repo.commit({"own/model.safetensors": weights, "own/config.json": config})
    repo.commit({"bare/model.safetensors": weights})
    for known in (False, True):  # the second time by what the cache knows
        own = load("me/mine", filename="own/model.safetensors", local_files_only=known)
        assert own.config == SMALL.replace(license="mit")
        bare = load("me/mine", filename="bare/model.safetensors", local_files_only=known)
        assert bare.config == SMALL


def test_weights_and_config_are_of_one_commit_whatever_is_pushed_meanwhile(
    repo: Repo, load: Loader, saved: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.commit({"own/model.safetensors": saved["model.safetensors"]})
    download = huggingface_hub.hf_hub_download

    def download_before_a_push(*args: str, **options: object) -> str:
        file = download(*args, **options)
        repo.commit({"config.json": b'{"model_type": "another"}'})
        return file

    config = repo.at("main")["config.json"]
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download_before_a_push)
    for filename in (None, "own/model.safetensors"):
        repo.commit({"config.json": config})
        assert load("me/mine", filename=filename).config == SMALL
        assert load("me/mine", filename=filename, local_files_only=True).config == SMALL


def test_a_missing_repo_or_revision_is_said(repo: Repo, load: Loader) -> None:
    with pytest.raises(HubError, match=r"no repo me/none\. Check the name"):
        load("me/none")
    with pytest.raises(HubError, match=r'me/mine has no revision v9.*revision="main"'):
        load("me/mine@v9")
    with pytest.raises(HubError, match=r'me/mine has no revision v9.*revision="main"'):
        load("me/mine", revision="v9")


def test_a_private_repo_wants_a_token(
    hub: FakeHub, load: Loader, saved: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.users = {"secret": "me", "other": "you"}
    hub.repos["me/private"] = Repo(saved, private=True)
    for token in (None, "other"):
        with pytest.raises(HubError, match=r"no repo me/private.*private.*token="):
            load("me/private", token=token)
    with pytest.raises(HubError, match=r"does not know the token.*me/private.*hf auth login"):
        load("me/private", token="wrong")
    assert load("me/private", token="secret").config == SMALL
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert locate("me/private", reach=Reach(cache_dir=load.cache / "second")).weights.is_file()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("GatedRepo", r"me/mine is gated.*hf auth login"),
        ("", r"model\.safetensors of me/mine.*403"),
    ],
)
def test_a_refusal_is_passed_on(hub: FakeHub, load: Loader, code: str, message: str) -> None:
    hub.repos["me/mine"] = Repo({}, refusal=code)
    with pytest.raises(HubError, match=message):
        load("me/mine")


@pytest.mark.usefixtures("impatient")
def test_a_download_cut_short_goes_on_where_it_stopped(
    hub: FakeHub,
    repo: Repo,
    load: Loader,
    saved: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The client keeps whole pieces only, of 10 MB unless told otherwise.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    repo.cuts = [100_000, 70_000]
    for _ in range(2):  # some versions of the client try again themselves, others leave it to us
        with suppress(HubError):
            load("me/mine")
    assert load("me/mine").config == SMALL
    assert hub.requests.count(("GET", WEIGHTS)) == 3
    assert hub.ranges == ["bytes=100000-", "bytes=170000-"]
    file = locate("me/mine", reach=Reach(None, load.cache, True)).weights
    assert file.read_bytes() == saved["model.safetensors"]


@pytest.mark.usefixtures("impatient")
def test_a_download_given_up_is_never_taken_for_whole_and_can_be_taken_up(
    repo: Repo, load: Loader, saved: dict[str, bytes]
) -> None:
    repo.cuts = [100_000, *[0] * 20]
    with pytest.raises(HubError, match=r"Could not fetch model\.safetensors of me/mine.*Try again"):
        load("me/mine")
    with pytest.raises(HubError, match="not in the cache"):
        load("me/mine", local_files_only=True)
    repo.cuts.clear()
    assert load("me/mine").config == SMALL
    file = locate("me/mine", reach=Reach(None, load.cache, True)).weights
    assert file.read_bytes() == saved["model.safetensors"]


def test_a_cache_that_cannot_be_written_is_said(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HubError, match=r"Could not fetch model\.safetensors of me/mine"):
        locate("me/mine", reach=Reach(cache_dir=tmp_path / "file"))


def test_a_repo_of_one_published_file_loads_again_without_the_hub(
    hub: FakeHub, load: Loader
) -> None:
    hub.repos["me/one"] = Repo({"weights.pth": GOLDEN.read_bytes()})
    load("me/one")
    hub.requests.clear()
    assert load("me/one", local_files_only=True).config.channels[0] == 8
    assert hub.requests == []


def test_offline_another_file_is_taken_only_where_there_is_known_to_be_no_default_one(
    hub: FakeHub, repo: Repo, load: Loader, saved: dict[str, bytes]
) -> None:
    repo.commit({"other.safetensors": saved["model.safetensors"]})
    load("me/mine", filename="other.safetensors")
    hub.requests.clear()
    with pytest.raises(
        HubError,
        match=r"model\.safetensors of me/mine is not in the cache.*local_files_only=True.*"
        r"filename= for what is there \(other\.safetensors\)",
    ):
        load("me/mine", local_files_only=True)
    chosen = load("me/mine", filename="other.safetensors", local_files_only=True)
    assert chosen.config == SMALL
    assert hub.requests == []


def test_offline_a_repo_of_which_nothing_was_chosen_is_not_said_to_be_empty(
    hub: FakeHub, load: Loader
) -> None:
    hub.repos["me/two"] = Repo({"a.pth": GOLDEN.read_bytes(), "b.pth": GOLDEN.read_bytes()})
    with pytest.raises(HubError, match=r"pass filename=, one of a\.pth, b\.pth"):
        load("me/two")
    with pytest.raises(HubError, match=r"list of its files of me/two is not in the cache"):
        load("me/two", local_files_only=True)
