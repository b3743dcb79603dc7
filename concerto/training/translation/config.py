"""What a translator is trained from, on, and how: the options of `concerto.training.translate`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from concerto.errors import ConfigError
from concerto.training.run.loop import LoopConfig

# What makes no difference to the result, so that a run may go on with other values.
HOW = ("loop", "workers", "streaming", "image_cache", "with_encoder", "push_to_hub", "private")
OF_IMAGES = ("image_features", "image_size", "image_cache")
OF_STEPS = ("epochs", "max_steps", "accumulate", "clip_norm", "picture_every", "max_bad_steps")
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Steps are short: an encoder and an image tower on a few scenes.
BATCH_SIZE = 8
SAVE_EVERY = 100


@dataclass(frozen=True)
class TranslateConfig:
    """Train a translator: one linear map from a frozen encoder's features to where texts live."""

    encoder: str
    """A name of `concerto models`, org/name[@revision], a folder or a weights file."""
    clip: str
    """The text tower: MODEL/WEIGHTS of open_clip's, as ViT-L-14/openai; org/name on the Hub;
    minilm or sentence:NAME, which know no images and need --targets labels."""
    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PLACE...")]
    """Prepared scenes: folders, or org/name of data sets on the Hub."""
    loop: tyro.conf.OmitArgPrefixes[LoopConfig]
    """How the run goes. A step of --solver ridge is a block of --batch-size samples. --precision
    is also what encoder and image tower compute in."""
    split: str = "train"
    """Of the data."""
    streaming: bool = False
    """Read data of the Hub sample by sample instead of downloading them first."""
    targets: Literal["images", "labels"] = "images"
    """What voxels are mapped to: dense features of the images that see them, or the text vectors
    of their classes' names."""
    image_features: Annotated[str | None, tyro.conf.arg(metavar="module:attribute")] = None
    """An nn.Module that gives a grid of features in the joint space; by default the patches of
    --clip's own image tower, by its value path."""
    image_size: int | None = None
    """Pixels a side of the images that the image tower sees; by default its own."""
    image_cache: Path | None = None
    """Folder that keeps image features from one run to the next."""
    templates: tuple[str, ...] = ("{}",)
    """With --targets labels: sentences to put classes' names in, whose vectors are averaged."""
    degrade: bool = False
    """Make scenes poorer by chance: sparser, without colours, without normals. For a map that
    serves scans of any kind."""
    stages: tuple[int, ...] | None = None
    """Stages of the encoder that the map reads; by default the encoder's own choice."""
    solver: Literal["ridge", "sgd"] = "ridge"
    """ridge: closed form, exact, in one pass. sgd: gradient descent (AdamW) for --epochs."""
    ridge: float = 1e-4
    """Penalty on the squared weights, times the features' mean variance."""
    lr: float = 3e-3
    """With --solver sgd: peak learning rate, for features whitened."""
    weight_decay: float = 0.0
    """With --solver sgd: AdamW's."""
    whiten_by: int = 64
    """With --solver sgd: samples that features are whitened by."""
    workers: int = 0
    """Processes that read samples ahead, for each process of the run."""
    with_encoder: bool = True
    """Put the encoder into the file; else it is fetched when the translator is loaded."""
    push_to_hub: Annotated[str | None, tyro.conf.arg(metavar="REPO")] = None
    """Upload the translator with its card to this repo, org/name."""
    private: bool = False
    """Make a new repo private."""

    def __post_init__(self) -> None:
        """Raises ConfigError where an option would have no say."""
        sgd, ridge = self.solver == "sgd", self.solver == "ridge"
        for options, owner, chosen, names in (
            (self, "--solver sgd", sgd, ("lr", "weight_decay", "whiten_by")),
            (self.loop, "--solver sgd", sgd, OF_STEPS),
            (self, "--solver ridge", ridge, ("ridge",)),
            (self, "--targets images", self.targets == "images", OF_IMAGES),
            (self, "--targets labels", self.targets == "labels", ("templates",)),
        ):
            usual = {field.name: field.default for field in dataclasses.fields(options)}
            for name in names:
                if not chosen and getattr(options, name) != usual[name]:
                    option = name.replace("_", "-")
                    raise ConfigError(f"--{option} is for {owner}; leave it out, or pass that.")

    @property
    def dtype(self) -> torch.dtype:
        """What the frozen parts compute in."""
        return DTYPES[self.loop.precision]

    def settings(self) -> dict[str, Any]:
        """All that makes the result what it is."""
        values = {k: v for k, v in dataclasses.asdict(self).items() if k not in HOW}
        return values | {"precision": self.loop.precision}


def defaults() -> TranslateConfig:
    """What the command line begins with; what must be said is missing."""
    missing: Any = tyro.MISSING
    loop = LoopConfig(output=missing, batch_size=BATCH_SIZE, save_every=SAVE_EVERY)
    return TranslateConfig(encoder=missing, clip=missing, data=missing, loop=loop)
