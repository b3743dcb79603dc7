"""What a pretraining run is: every value of it, and nothing else.

A recipe is data. The command line overrides any of its fields (`--optimizer.lr 0.001`), and the
run's folder keeps the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from concerto.config import ConcertoConfig
from concerto.encoder import Backend
from concerto.errors import ConfigError
from concerto.training.loop import LoopConfig
from concerto.training.objective import ObjectiveConfig
from concerto.training.views import ViewConfig

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
class OptimizerConfig:
    """AdamW and its schedules: one cycle of the rate, a cosine of the decay."""

    lr: float = 0.004
    """Highest learning rate, of all but the encoder's blocks."""
    layer_decay: float = 0.9
    """Factor on the rate of a block for each block after it; the last block has the whole rate."""
    weight_decay: tuple[float, float] = (0.04, 0.2)
    """First and last, on every trained parameter."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises, from a tenth of the highest."""


@dataclass(frozen=True)
class TeachingConfig:
    """How the task grows harder, and how fast the teacher follows the student."""

    momentum: tuple[float, float] = (0.994, 1.0)
    """First and last weight of the teacher's own past in a step; a cosine."""
    temperature: tuple[float, float] = (0.04, 0.07)
    """What divides the teacher's logits, first and after the warm-up."""
    mask_size: tuple[float, float] = (0.1, 0.4)
    """Edge of a masked cell, metres, first and after the warm-up."""
    mask_ratio: tuple[float, float] = (0.3, 0.7)
    """Share of cells that are masked, first and after the warm-up."""
    warmup: float = 0.05
    """Share of the steps in which the last three grow."""


@dataclass(frozen=True)
class Recipe:
    """Pretrain an encoder on posed images and the points that they see."""

    data: tuple[str, ...]
    """Prepared scenes: folders, or org/name of data sets on the Hub."""
    loop: tyro.conf.OmitArgPrefixes[LoopConfig]
    recipe: RecipeName = "concerto-base"
    """Whose values are the defaults of all other options."""
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
    optimizer: OptimizerConfig = OptimizerConfig()
    teaching: TeachingConfig = TeachingConfig()
    images: ImageEncoderConfig = ImageEncoderConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    views: ViewConfig = ViewConfig()
    model: ConcertoConfig = field(default_factory=ConcertoConfig)

    def __post_init__(self) -> None:
        """Raises ConfigError where the parts do not fit together."""
        if self.views.grid_size != self.model.grid_size:
            raise ConfigError(
                f"Views are cut into voxels of {self.views.grid_size:g} m, and the model says "
                f"{self.model.grid_size:g} m. Set --views.grid-size and --model.grid-size alike."
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
