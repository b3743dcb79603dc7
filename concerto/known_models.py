"""The names that `from_pretrained` knows: where weights lie, and what they were trained for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concerto.config import ConcertoConfig, PresetName

CONCERTO_REPO = "Pointcept/Concerto"
SONATA_REPO = "facebook/sonata"
PUBLISHED_LICENSE = "cc-by-nc-4.0"
PACKAGED = "concerto-tiny"


@dataclass(frozen=True)
class PublishedModel:
    """A name, where its weights lie, and what they were trained for.

    repo is None where the weights ship with the library, filename where nobody has published any.
    unavailable: why this version cannot load the name, or None. over: the name of the encoder that
    the file is a head for, or None where it holds an encoder. commit: what is fetched instead of
    the newest state. sha256: the file's digest in hex; another file is refused.
    """

    name: str
    about: str
    repo: str | None
    filename: str | None
    config: ConcertoConfig
    unavailable: str | None = None
    over: str | None = None
    commit: str | None = None
    sha256: str | None = None


def list_models() -> list[str]:
    """Every name that `from_pretrained` knows, the packaged one first."""
    return [model.name for model in MODELS]


def find_model(name: str) -> PublishedModel | None:
    """The table's entry of that name."""
    return next((model for model in MODELS if model.name == name), None)


def model_of_file(filename: str) -> PublishedModel | None:
    """The published model whose file has that name: its preprocessing is not in the file."""
    return next((model for model in MODELS if model.filename == Path(filename).name), None)


def _published(
    name: str, filename: str, size: PresetName, about: str, **more: Any
) -> PublishedModel:
    """An entry whose weights lie in the authors' repo."""
    preprocessing = more.pop("preprocessing", {})
    repo = more.pop("repo", CONCERTO_REPO)
    config = ConcertoConfig.preset(size).replace(
        license=PUBLISHED_LICENSE, base_model=repo, **preprocessing
    )
    return PublishedModel(name, about, repo, filename, config, **more)


# Source of every line: the Hub repos named, and the authors' own words there.
MODELS = (
    PublishedModel(
        PACKAGED,
        "ships with this library; rooms, at a small scale: trained on procedural ones",
        None,
        None,
        ConcertoConfig.preset("tiny").replace(license="apache-2.0"),
    ),
    PublishedModel(
        "concerto-tiny-words",
        "ships with this library; concerto-tiny asked in words, by a sentence model (extra words)",
        None,
        None,
        ConcertoConfig.preset("tiny").replace(license="apache-2.0"),
    ),
    _published(
        "concerto-small", "concerto_small.pth", "small", "rooms; a pre-release of later work"
    ),
    _published("concerto-base", "concerto_base.pth", "base", "rooms; a pre-release of later work"),
    _published(
        "concerto-base-origin",
        "concerto_base_origin.pth",
        "base",
        "rooms; the paper's base, as its users report",
    ),
    _published(
        "concerto-large", "concerto_large.pth", "large", "rooms; a pre-release of later work"
    ),
    _published(
        "concerto-large-outdoor",
        "concerto_large_outdoor.pth",
        "large",
        "LiDAR sweeps",
        preprocessing={"coord_scale": 0.2, "grid_size": 0.01, "center": "xy"},
    ),
    _published(
        "concerto-base-siglip",
        "concerto_base_siglip.pth",
        "base",
        "rooms; trained against SigLIP2 instead of DINOv2",
    ),
    _published(
        "concerto-large-video",
        "pretrain-concerto-v1m1-2-large-video.pth",
        "large",
        "clouds lifted from video; the file is a whole training state",
    ),
    _published(
        "concerto-large-scannet",
        "concerto_large_linear_prob_head_sc.pth",
        "large",
        "ScanNet's 20 classes: a linear head over concerto-large",
        over="concerto-large",
    ),
    _published("sonata", "sonata.pth", "base", "rooms; points alone", repo=SONATA_REPO),
    _published(
        "sonata-small",
        "sonata_small.pth",
        "small",
        "rooms; points alone, smaller",
        repo=SONATA_REPO,
    ),
    _published(
        "sonata-scannet",
        "sonata_linear_prob_head_sc.pth",
        "base",
        "ScanNet's 20 classes: a linear head over sonata",
        repo=SONATA_REPO,
        over="sonata",
    ),
    PublishedModel(
        "concerto-large-clip",
        "features carried into CLIP's language space; nobody has published its weights",
        None,
        None,
        ConcertoConfig.preset("large"),
        unavailable="nobody has published a translator's weights. It is one linear map: "
        "train it on images that see your scenes, `accelerate launch -m "
        "concerto.training.translate --encoder concerto-large --clip ViT-L-14/openai "
        "--data SCENES --output RUN`, then load RUN/translator.",
    ),
)
