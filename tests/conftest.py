"""What several tests share: a small architecture and room, the folder of shared data, a Hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants, file_download
from hypothesis import settings

import concerto
from concerto import Concerto, ConcertoConfig, PointCloud
from hub_server import FakeHub, serve

# A busy machine is no failure.
settings.register_profile("concerto", deadline=None)
settings.load_profile("concerto")

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "data" / "official_tiny.pth"
SMALL = ConcertoConfig(
    channels=(8, 16, 16, 24, 32),
    depths=(2, 1, 1, 2, 1),
    heads=(1, 2, 2, 3, 4),
    patch_size=(64, 64, 32, 32, 32),
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden files and scans, from CONCERTO_SHARED, else beside the repository."""
    folder = Path(os.environ.get("CONCERTO_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder of shared data at {folder}; set CONCERTO_SHARED")
    return folder


@pytest.fixture(scope="session")
def model() -> Concerto:
    """A small model with random weights, in evaluation mode."""
    torch.manual_seed(0)
    return Concerto(SMALL).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub on loopback that the real client talks to, without tokens and cache of this machine."""
    with serve() as hub:
        files = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        # Clients before 1.0 have a copy of it.
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", files, raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(variable, raising=False)
        yield hub


@pytest.fixture
def logged_in(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The same, where this machine is logged in as "me"; there is another user, "you"."""
    hub.users = {"mine": "me", "yours": "you"}
    monkeypatch.setenv("HF_TOKEN", "mine")
    # The server takes large files the LFS way, as every Hub does from clients without hf_xet.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    return hub


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Views for training without change of coordinates or colours."""
    from concerto.training.views import crops

    monkeypatch.setattr(crops, "augment_geometry", lambda coord, normal, _: (coord, normal))
    monkeypatch.setattr(crops, "augment_color", lambda color, _: color)
    monkeypatch.setattr(crops, "drop", lambda values, _: values)
    return monkeypatch


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A published file, to be spoilt."""
    return Path(shutil.copy(GOLDEN, tmp_path / "weights.pth"))


class Loader:
    """`concerto.from_pretrained` with a cache of its own."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def __call__(self, source: str, **options: Any) -> Concerto:
        return concerto.from_pretrained(source, cache_dir=self.cache, **options)


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    """`from_pretrained` with an empty cache."""
    return Loader(tmp_path / "cache")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a repo as `save_pretrained` makes them."""
    folder = tmp_path_factory.mktemp("saved")
    Concerto(SMALL).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def random_cloud(points: int, seed: int = 0, extent: float = 1.5) -> PointCloud:
    """Points on three walls of a room, with colours and normals."""
    random = torch.Generator().manual_seed(seed)
    coord = torch.rand(points, 3, generator=random) * extent
    wall = torch.randint(0, 3, (points,), generator=random)
    coord[torch.arange(points), wall] *= 0.02
    normal = torch.nn.functional.one_hot(wall, 3).float()
    return PointCloud(coord, torch.rand(points, 3, generator=random), normal)


def relative_l2(given: torch.Tensor, wanted: torch.Tensor) -> float:
    """|given - wanted| / |wanted|, in float64."""
    given, wanted = given.detach().double(), wanted.detach().double()
    return float((given - wanted).norm() / wanted.norm())
