"""Names: what they lead to, and what they are pinned to."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import concerto
from concerto import (
    CheckpointError,
    Concerto,
    ConfigError,
    HubError,
    Segmenter,
    SegmenterConfig,
    Translator,
)
from concerto.card import card_data
from concerto.heads import LinearConfig
from concerto.hub import Reach, locate
from concerto.known_models import MODELS, PUBLISHED_LICENSE, find_model
from conftest import GOLDEN, ROOT, SMALL, Loader
from hub_server import FakeHub, Repo

Pin = Callable[..., Repo]


def test_the_table_names_each_published_file_once() -> None:
    assert concerto.list_models()[0] == "concerto-tiny"
    assert len(set(concerto.list_models())) == len(MODELS) == 14
    files = {model.name: (model.repo, model.filename) for model in MODELS if model.repo}
    assert files == {
        "concerto-small": ("Pointcept/Concerto", "concerto_small.pth"),
        "concerto-base": ("Pointcept/Concerto", "concerto_base.pth"),
        "concerto-large": ("Pointcept/Concerto", "concerto_large.pth"),
        "concerto-large-outdoor": ("Pointcept/Concerto", "concerto_large_outdoor.pth"),
        "concerto-base-origin": ("Pointcept/Concerto", "concerto_base_origin.pth"),
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
        "sonata-small": ("facebook/sonata", "sonata_small.pth"),
        "sonata-scannet": ("facebook/sonata", "sonata_linear_prob_head_sc.pth"),
    }
    for model in MODELS:
        if model.repo:
            assert model.config.license == PUBLISHED_LICENSE
            assert model.config.base_model == model.repo


@pytest.mark.parametrize("name", [model.name for model in MODELS if model.repo and not model.over])
def test_every_name_resolves_to_its_repo_and_file(hub: FakeHub, load: Loader, name: str) -> None:
    entry = find_model(name)
    assert entry is not None
    hub.repos[entry.repo] = Repo({entry.filename: GOLDEN.read_bytes()})
    config = load(name).config
    assert ("HEAD", f"/{entry.repo}/resolve/main/{entry.filename}") in hub.requests
    assert config.channels == (8, 16, 16, 24, 32)
    for preprocessing in ("grid_size", "coord_scale", "center", "license", "base_model"):
        assert getattr(config, preprocessing) == getattr(entry.config, preprocessing)


def test_the_outdoor_model_has_its_own_preprocessing() -> None:
    config = find_model("concerto-large-outdoor").config
    assert (config.coord_scale, config.grid_size, config.center) == (0.2, 0.01, "xy")


def test_names_without_weights_say_so(load: Loader) -> None:
    with pytest.raises(HubError, match=r"nobody has published.*linear map.*training\.translate"):
        load("concerto-large-clip")


@pytest.mark.parametrize("choice", [{"revision": "x"}, {"filename": "nope"}])
@pytest.mark.parametrize("name", ["concerto-tiny", "concerto-tiny-words"])
def test_what_ships_with_the_library_has_no_other_revision_or_file(
    name: str, choice: dict, load: Loader
) -> None:
    ((option, value),) = choice.items()
    with pytest.raises(HubError, match=f"{name} ships with this library.*; {option}='{value}'"):
        load(name, **choice)
    assert load("concerto-tiny", filename="model.safetensors").config.channels[0] == 48


def test_what_lies_on_this_machine_has_no_revisions(tmp_path: Path) -> None:
    Concerto(SMALL).save_pretrained(tmp_path)
    with pytest.raises(HubError, match=r"is a folder on this machine; revision='main' means no"):
        locate(tmp_path, revision="main")
    file = tmp_path / "model.safetensors"
    with pytest.raises(HubError, match=r"is a file on this machine; revision='main' means no"):
        locate(file, revision="main")
    with pytest.raises(HubError, match=r"is a file on this machine; filename='a.pth' means no"):
        locate(file, filename="a.pth")
    assert locate(tmp_path, filename=file.name) == locate(file)
    with pytest.raises(HubError, match=r"has no x+\. It has: model\.safetensors"):
        locate(tmp_path, filename="x" * 300)


@pytest.mark.parametrize(
    "load",
    [
        concerto.from_pretrained,
        Concerto.from_pretrained,
        Segmenter.from_pretrained,
        Translator.from_pretrained,
    ],
)
def test_wrong_options_are_said_before_anything_is_fetched(
    load: Callable[..., object], hub: FakeHub
) -> None:
    for option, error in (
        ("backend", ConfigError),
        ("device", ConfigError),
        ("dtype", ConfigError),
        ("fielname", TypeError),
    ):
        with pytest.raises(error, match=option):
            load("me/mine", **{option: "wrong"})
    assert hub.requests == []


def test_a_folder_without_weights_that_hides_a_model_of_its_name_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Concerto(SMALL).save_pretrained("sonata/below")
    with pytest.raises(HubError, match=r"sonata on this machine.*hides the model.*rename it"):
        concerto.from_pretrained("sonata")
    own = concerto.from_pretrained("sonata", filename="below/model.safetensors")
    assert own.config == SMALL


def test_a_file_further_down_a_folder_has_the_config_beside_it_else_that_of_the_folder(
    tmp_path: Path,
) -> None:
    outdoor = SMALL.replace(grid_size=0.1, coord_scale=0.2)
    Concerto(SMALL).save_pretrained(tmp_path)
    Concerto(outdoor).save_pretrained(tmp_path / "outdoor")
    file = "outdoor/model.safetensors"
    assert concerto.from_pretrained(tmp_path, filename=file).config == outdoor
    (tmp_path / "outdoor/config.json").unlink()
    assert concerto.from_pretrained(tmp_path, filename=file).config == SMALL


@pytest.mark.parametrize("kind", ["encoder", "segmenter"])
def test_a_state_dict_saved_by_torch_has_the_config_beside_it(
    hub: FakeHub, load: Loader, tmp_path: Path, kind: str
) -> None:
    model: Concerto | Segmenter = Concerto(SMALL)
    if kind == "segmenter":
        model = Segmenter(SegmenterConfig(SMALL, LinearConfig(), ("wall", "floor")))
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    file = tmp_path / "pytorch_model.bin"
    torch.save(model.state_dict(), file)
    config = (tmp_path / "config.json").read_bytes()
    hub.repos["me/old"] = Repo({file.name: file.read_bytes(), "config.json": config})
    for loaded in (concerto.from_pretrained(tmp_path), concerto.from_pretrained(file)):
        assert loaded.config == model.config
        wanted = model.state_dict()
        assert all(torch.equal(wanted[k], v) for k, v in loaded.state_dict().items())
    assert load("me/old").config == model.config
    assert load("me/old", local_files_only=True).config == model.config


def test_a_published_file_has_no_use_for_a_config_beside_it(
    hub: FakeHub, load: Loader, tmp_path: Path
) -> None:
    (tmp_path / "weights.pth").write_bytes(GOLDEN.read_bytes())
    (tmp_path / "config.json").write_text("what somebody else wrote")
    assert concerto.from_pretrained(tmp_path).config.channels[0] == 8
    hub.repos["me/one"] = Repo({file.name: file.read_bytes() for file in tmp_path.iterdir()})
    assert load("me/one").config.channels[0] == 8
    assert not any(path.endswith("config.json") for _, path in hub.requests)
    (tmp_path / "weights.pth").write_bytes(GOLDEN.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="the end of the archive is missing"):
        concerto.from_pretrained(tmp_path)


def test_an_unknown_name_gets_the_closest_ones(load: Loader) -> None:
    with pytest.raises(HubError, match=r"'concerto-larg'\. Did you mean concerto-large"):
        load("concerto-larg")
    with pytest.raises(
        HubError, match=r"Known: concerto-tiny, concerto-tiny-words, concerto-small"
    ):
        load("resnet50")


def test_the_authors_repo_is_loadable_with_a_choice_of_file(hub: FakeHub, load: Loader) -> None:
    files = {"concerto_base.pth": GOLDEN.read_bytes(), "concerto_large_outdoor.pth": b"x"}
    hub.repos["Pointcept/Concerto"] = Repo(files)
    with pytest.raises(
        HubError, match=r"pass filename=, one of concerto_base\.pth, concerto_large"
    ):
        load("Pointcept/Concerto")
    assert load("Pointcept/Concerto", filename="concerto_base.pth").config.center == "xyz"
    with pytest.raises(HubError, match=r"has no missing\.pth\. It has: concerto_base\.pth"):
        load("Pointcept/Concerto", filename="missing.pth")


def test_a_published_file_in_another_repo_is_known_by_its_name(hub: FakeHub, load: Loader) -> None:
    files = {name: GOLDEN.read_bytes() for name in ("concerto_large_outdoor.pth", "any.pth")}
    hub.repos["me/mirror"] = Repo(files)
    hub.repos["facebook/sonata"] = Repo({"sonata.pth": GOLDEN.read_bytes()})
    outdoor = load("me/mirror", filename="concerto_large_outdoor.pth").config
    assert (outdoor.coord_scale, outdoor.center) == (0.2, "xy")
    assert load("me/mirror", filename="any.pth").config.coord_scale == 1
    assert load("facebook/sonata", filename="sonata.pth").config.license == "cc-by-nc-4.0"


def test_a_repo_of_one_published_file_needs_no_filename(hub: FakeHub, load: Loader) -> None:
    hub.repos["me/one"] = Repo({"weights.pth": GOLDEN.read_bytes(), "notes.txt": b"x"})
    assert load("me/one").config.channels[0] == 8


def test_an_existing_folder_wins_over_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Concerto(SMALL).save_pretrained("concerto-base")
    assert locate("concerto-base").weights == Path("concerto-base/model.safetensors")


def test_every_name_has_a_card_with_its_source_and_the_metadata_of_a_saved_one() -> None:
    cards = ROOT / "model_cards"
    assert {card.stem for card in cards.glob("*.md")} == set(concerto.list_models())
    for model in MODELS:
        card = ModelCard.load(cards / f"{model.name}.md")
        # What derives from published weights names them as its base; they themselves have none.
        assert card.data.to_dict() == card_data(model.config.replace(base_model=None)).to_dict()
        assert (model.filename or "") in card.text


@pytest.fixture
def pinned(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """Serve a file under concerto-base's name and pin it: pinned(commit=..., sha256=...)."""
    entry = find_model("concerto-base")
    repo = hub.repos[entry.repo] = Repo({entry.filename: GOLDEN.read_bytes()})

    def pin(**pins: str) -> Repo:
        monkeypatch.setattr("concerto.known_models.MODELS", (replace(entry, **pins),))
        return repo

    return pin


def test_a_pinned_file_loads_and_a_changed_one_is_refused(load: Loader, pinned: Pin) -> None:
    repo = pinned(sha256=digest(GOLDEN.read_bytes()))
    assert load("concerto-base").config.channels[0] == 8
    repo.commit({"concerto_base.pth": GOLDEN.read_bytes() + b"changed"})
    expected, found = digest(GOLDEN.read_bytes()), digest(GOLDEN.read_bytes() + b"changed")
    for _ in range(2):  # the refused file is in the cache by then
        with pytest.raises(
            HubError,
            match=r"concerto_base\.pth of Pointcept/Concerto is not .*concerto-base is pinned to: "
            rf"its sha256 is {found}, expected {expected}.*revision=\"main\"",
        ):
            load("concerto-base")


def test_a_file_damaged_in_the_cache_is_refused_until_it_is_deleted(
    load: Loader, pinned: Pin
) -> None:
    pinned(sha256=digest(GOLDEN.read_bytes()))
    tensors = load("concerto-base").state_dict()
    wanted = {name: tensor.clone() for name, tensor in tensors.items()}  # they are maps of the file
    load_again = re.compile(r"delete (\S+) and try again")
    cached = locate("concerto-base", reach=Reach(None, load.cache, True)).weights
    content = bytearray(GOLDEN.read_bytes())
    content[len(content) // 2] ^= 1
    cached.resolve().write_bytes(content)
    with pytest.raises(HubError, match=load_again) as refused:
        load("concerto-base")
    Path(load_again.search(str(refused.value))[1]).unlink()
    again = load("concerto-base").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in wanted.items())


def test_a_pinned_commit_is_fetched_instead_of_the_newest_state(
    hub: FakeHub, load: Loader, pinned: Pin
) -> None:
    repo = pinned()
    commit = repo.branches["main"]
    repo.commit({"concerto_base.pth": b"something else"})
    pinned(commit=commit, sha256=digest(GOLDEN.read_bytes()))
    assert load("concerto-base").config.channels[0] == 8
    paths = {path for _, path in hub.requests}
    assert paths == {f"/Pointcept/Concerto/resolve/{commit}/concerto_base.pth"}


def test_an_explicit_revision_overrides_the_pin(load: Loader, pinned: Pin) -> None:
    pinned(commit="0" * 40, sha256="0" * 64)
    with pytest.raises(HubError, match=r"has no revision 0{40}; its newest state is revision="):
        load("concerto-base")
    assert load("concerto-base", revision="main").config.channels[0] == 8


def test_a_pin_holds_for_its_own_file_only(load: Loader, pinned: Pin) -> None:
    repo = pinned(sha256="0" * 64)
    repo.commit({"concerto_small.pth": GOLDEN.read_bytes()})
    assert load("concerto-base", filename="concerto_small.pth").config.channels[0] == 8


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["weights/none.pth", "./none", "none.safetensors", "/none"])
def test_a_mistyped_path_is_not_looked_for_on_the_hub(hub: FakeHub, name: str) -> None:
    with pytest.raises(HubError, match=f"There is no file or folder '{name}'"):
        locate(name)
    assert hub.requests == []


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize(
    "name", ["runs/exp--1", "runs/exp.", "runs/-exp", "runs/a..b", "runs/" + "x" * 120, "x" * 300]
)
def test_a_name_that_no_repo_may_have_is_not_looked_for_on_the_hub(
    hub: FakeHub, name: str, offline: bool
) -> None:
    with pytest.raises(HubError, match=f"no file, folder or model called '{re.escape(name)}'"):
        locate(name, reach=Reach(local_files_only=offline))
    assert hub.requests == []
