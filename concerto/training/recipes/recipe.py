"""What a pretraining run is: every value of it, and nothing else.

A recipe is data. The command line overrides any of its fields (`--lr 0.001`), and the run's folder
keeps the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from concerto.config import ConcertoConfig
from concerto.encoder import Backend
from concerto.errors import ConfigError
from concerto.training.pretraining.objective import ObjectiveConfig
from concerto.training.pretraining.schedules import PretrainSchedules
from concerto.training.run.loop import LoopConfig
from concerto.training.views.crops import ViewConfig

RecipeName = Literal[
    "concerto-tiny",
    "concerto-small",
    "concerto-base",
    "concerto-large",
    "concerto-large-video",
    "concerto-base-siglip",
    "sonata",
]


@dataclass(frozen=True)
class ImageEncoderConfig:
    """The frozen image encoder whose features are predicted."""

    name: str | None = "facebook/dinov2-with-registers-giant"
    """A repo on the Hub or a folder that transformers reads, open_clip:MODEL/WEIGHTS,
    efficientnet-lite0, or module:attribute of Python. None where images are not used."""
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """What it computes in."""
    cache: Path | None = None
    """Folder to keep its features in. Needs images that are not augmented:
    --views.no-augment-images."""


@dataclass(frozen=True)
class Recipe:
    """Pretrain an encoder on posed images and the points that they see."""

    data: tuple[str, ...]
    """Prepared scenes: folders, or org/name of data sets on the Hub; several are joined."""
    loop: tyro.conf.OmitArgPrefixes[LoopConfig]
    recipe: RecipeName = "concerto-base"
    """Whose values are the defaults of all other options."""
    lr: float = 0.004
    """Highest learning rate, of all but the encoder's blocks."""
    layer_decay: float = 0.9
    """Factor on the rate of a block for each block behind it."""
    muon: bool = False
    """Step matrices of blocks, poolings and heads by Muon instead of AdamW."""
    split: str = "train"
    """Which samples of the data."""
    streaming: bool = False
    """Read each sample from the Hub when it is needed, instead of downloading all first."""
    start_from: str | None = None
    """Weights to begin with: a model's name, folder or file, or a whole training state."""
    workers: int = 8
    """Processes that make views, for each process that trains; 0 makes them in that one."""
    activation_checkpointing: bool = False
    """Compute the encoder's blocks twice, and keep less of them in memory."""
    backend: Backend = "torch"
    """Who computes convolutions and pooling; spconv needs CUDA."""
    picture_scene: Path | None = None
    """A scan to draw pictures of; by default the first sample's points."""
    schedules: PretrainSchedules = field(default_factory=PretrainSchedules)
    images: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    model: ConcertoConfig = field(default_factory=ConcertoConfig)

    def __post_init__(self) -> None:
        """Raises ConfigError where the parts do not fit together."""
        if self.views.grid_size != self.model.grid_size:
            raise ConfigError(
                f"Views are cut into voxels of {self.views.grid_size:g} m, and the model says "
                f"{self.model.grid_size:g} m. Set --views.grid-size and --model.grid-size alike."
            )
        if self.model.center != "xyz":
            raise ConfigError(
                f'--model.center is "{self.model.center}", and views are always centred: leave it '
                'at "xyz".'
            )
        if bool(self.objective.cross_modal_weight) != (self.images.name is not None):
            raise ConfigError(
                f"The cross-modal term weighs {self.objective.cross_modal_weight:g}, and the image "
                f"encoder is {self.images.name}. Without one, set --objective.cross-modal-weight 0."
            )
        if self.images.cache is not None and self.views.augment_images:
            raise ConfigError(
                "Augmented images are never the same twice, so keeping their features in "
                f"{self.images.cache} only fills the disk. Add --views.no-augment-images, or "
                "leave out --images.cache."
            )
