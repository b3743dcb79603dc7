import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import concerto
from concerto import Concerto, HubError
from concerto.hub import MODELS, PUBLISHED_LICENSE, find_model, locate
from conftest import SMALL
from hub_server import COMMIT, FakeHub, Repo, serve

GOLDEN = Path(__file__).parent / "golden" / "data" / "official_tiny.pth"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield hub


@pytest.fixture
def load(tmp_path: Path):  # type: ignore[no-untyped-def]
    """from_pretrained with a cache of its own."""

    def load(source: str, **options: Any) -> Concerto:
        return concerto.from_pretrained(source, cache_dir=tmp_path / "cache", **options)

    return load


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a repo as `save_pretrained` makes them."""
    folder = tmp_path_factory.mktemp("saved")
    Concerto(SMALL).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_table_names_each_published_file_once() -> None:
    assert concerto.list_models()[0] == "concerto-tiny"
    assert len(set(concerto.list_models())) == len(MODELS) == 10
    files = {model.name: (model.repo, model.filename) for model in MODELS if model.repo}
    assert files == {
        "concerto-small": ("Pointcept/Concerto", "concerto_small.pth"),
        "concerto-base": ("Pointcept/Concerto", "concerto_base.pth"),
        "concerto-large": ("Pointcept/Concerto", "concerto_large.pth"),
        "concerto-large-outdoor": ("Pointcept/Concerto", "concerto_large_outdoor.pth"),
        "concerto-base-siglip": ("Pointcept/Concerto", "concerto_base_siglip.pth"),
        "concerto-large-video": (
            "Pointcept/Concerto",
            "pretrain-concerto-v1m1-2-large-video.pth",
        ),
        "concerto-large-scannet": (
            "Pointcept/Concerto",
            "concerto_large_linear_prob_head_sc.pth",
        ),
        "sonata": ("facebook/sonata", "sonata.pth"),
    }
    assert {model.config.license for model in MODELS if model.repo} == {PUBLISHED_LICENSE}


@pytest.mark.parametrize(
    "name", [model.name for model in MODELS if model.repo and not model.unavailable]
)
def test_every_name_resolves_to_its_repo_and_file(hub: FakeHub, load, name: str) -> None:  # type: ignore[no-untyped-def]
    entry = find_model(name)
    assert entry is not None
    hub.repos[entry.repo] = Repo({entry.filename: GOLDEN.read_bytes()})
    config = load(name).config
    assert ("HEAD", f"/{entry.repo}/resolve/main/{entry.filename}") in hub.requests
    assert config.channels == (8, 16, 16, 24, 32)
    for preprocessing in ("grid_size", "coord_scale", "center", "license"):
        assert getattr(config, preprocessing) == getattr(entry.config, preprocessing)


def test_the_outdoor_model_has_its_own_preprocessing() -> None:
    config = find_model("concerto-large-outdoor").config
    assert (config.coord_scale, config.grid_size, config.center) == (0.2, 0.01, "xy")


def test_names_without_weights_say_so(load) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(HubError, match=r"nobody has published.*linear map"):
        load("concerto-large-clip")
    with pytest.raises(HubError, match=r"linear head on all five stages of concerto-large"):
        load("concerto-large-scannet")


def test_an_unknown_name_gets_the_closest_ones(load) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(HubError, match=r"'concerto-larg'\. Did you mean concerto-large"):
        load("concerto-larg")
    with pytest.raises(HubError, match=r"Known: concerto-tiny, concerto-small"):
        load("resnet50")


@pytest.mark.parametrize("source", ["me/mine", f"me/mine@{COMMIT}"])
def test_a_repo_as_saved_loads_and_loads_again_without_the_hub(
    hub: FakeHub,
    load,  # type: ignore[no-untyped-def]
    saved: dict[str, bytes],
    source: str,
) -> None:
    hub.repos["me/mine"] = Repo(saved)
    assert load(source).config == SMALL
    hub.requests.clear()
    assert load(source, local_files_only=True).config == SMALL
    assert hub.requests == []


def test_the_authors_repo_is_loadable_with_a_choice_of_file(hub: FakeHub, load) -> None:  # type: ignore[no-untyped-def]
    files = {"concerto_base.pth": GOLDEN.read_bytes(), "concerto_large_outdoor.pth": b"x"}
    hub.repos["Pointcept/Concerto"] = Repo(files)
    with pytest.raises(
        HubError, match=r"pass filename=, one of concerto_base\.pth, concerto_large"
    ):
        load("Pointcept/Concerto")
    assert load("Pointcept/Concerto", filename="concerto_base.pth").config.center == "xyz"
    with pytest.raises(HubError, match=r"has no missing\.pth\. It has: concerto_base\.pth"):
        load("Pointcept/Concerto", filename="missing.pth")


def test_a_repo_of_one_published_file_needs_no_filename(hub: FakeHub, load) -> None:  # type: ignore[no-untyped-def]
    hub.repos["me/one"] = Repo({"weights.pth": GOLDEN.read_bytes(), "notes.txt": b"x"})
    assert load("me/one").config.channels[0] == 8


def test_what_keeps_a_file_away_is_said_with_what_to_do(
    hub: FakeHub,
    load,  # type: ignore[no-untyped-def]
    saved: dict[str, bytes],
) -> None:
    hub.repos["me/private"] = Repo(saved, token="secret")
    with pytest.raises(HubError, match=r"no repo me/private.*private.*token="):
        load("me/private")
    assert load("me/private", token="secret").config == SMALL
    with pytest.raises(HubError, match=r"no repo me/none"):
        load("me/none")
    with pytest.raises(HubError, match=r"me/private has no revision v9"):
        load("me/private@v9", token="secret")
    with pytest.raises(HubError, match=r"not in the cache.*concerto-tiny"):
        load("me/other", local_files_only=True)


def test_offline_mode_uses_the_cache_and_says_when_it_is_not_enough(
    hub: FakeHub,
    load,  # type: ignore[no-untyped-def]
    saved: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.repos["me/mine"] = Repo(saved)
    load("me/mine")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load("me/mine").config == SMALL
    with pytest.raises(HubError, match=r"concerto_base\.pth of Pointcept/Concerto is not in the"):
        load("concerto-base")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("GatedRepo", r"me/mine is gated.*hf auth login"),
        ("", r"model\.safetensors of me/mine.*403"),
    ],
)
def test_a_refusal_is_passed_on(hub: FakeHub, load, code: str, message: str) -> None:  # type: ignore[no-untyped-def]
    hub.repos["me/mine"] = Repo({}, refusal=code)
    with pytest.raises(HubError, match=message):
        load("me/mine")


def test_an_existing_folder_wins_over_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Concerto(SMALL).save_pretrained("concerto-base")
    assert locate("concerto-base").weights == Path("concerto-base/model.safetensors")


def test_every_name_has_a_card_with_its_licence_and_source() -> None:
    cards = Path(__file__).parents[1] / "model_cards"
    assert {card.stem for card in cards.glob("*.md")} == set(concerto.list_models())
    for model in MODELS:
        card = (cards / f"{model.name}.md").read_text()
        assert re.search(rf"^license: {model.config.license or 'unknown'}$", card, re.MULTILINE)
        assert (model.filename or "") in card
