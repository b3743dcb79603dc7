"""Recipes that nobody has published. Their values are this library's, and untried at full scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from concerto.config import ConcertoConfig
from concerto.training.pretraining.objective import ObjectiveConfig
from concerto.training.pretraining.schedules import PretrainSchedules
from concerto.training.recipes.published import concerto_base, encoder
from concerto.training.recipes.recipe import ImageEncoderConfig, Recipe
from concerto.training.run.loop import LoopConfig
from concerto.training.views.crops import ViewConfig


def concerto_tiny(data: tuple[str, ...], output: Path) -> Recipe:
    """For a CPU: everything the others do, a hundred times cheaper.

    Views of some 2.5 m in voxels of 4 cm, small heads, few prototypes (a batch has some 4,000 pairs
    to spread over them), and EfficientNet-Lite0, whose weights come with its package, for images of
    224 pixels. These teach every view of the student's, down to its voxels, not the principal one
    alone down to the level above: so small an encoder has little time. For runs of a hundred steps
    the teacher follows faster and is more decided, and the rate rises longer: with the published
    schedules features collapse to one direction in as few.
    """
    return Recipe(
        data=data,
        recipe="concerto-tiny",
        loop=LoopConfig(
            output=output,
            batch_size=4,
            epochs=100,
            clip_norm=3.0,
            log_every=1,
            save_every=20,
            picture_every=30,
        ),
        workers=0,
        lr=0.003,
        schedules=PretrainSchedules(
            warmup=0.3, momentum=(0.99, 1.0), teacher_temperature=(0.02, 0.02)
        ),
        images=ImageEncoderConfig(name="efficientnet-lite0", precision="float32"),
        objective=ObjectiveConfig(
            head_hidden=512,
            head_width=128,
            prototypes=256,
            image_width=624,
            image_up_cast=4,
            image_views="all",
        ),
        views=ViewConfig(grid_size=0.04, most_points=4096, image_size=224, patch_size=16),
        model=ConcertoConfig.preset("tiny"),
    )


def concerto_small(data: tuple[str, ...], output: Path) -> Recipe:
    """The base's values on the small encoder."""
    return replace(concerto_base(data, output), recipe="concerto-small", model=encoder("small"))


def concerto_base_siglip(data: tuple[str, ...], output: Path) -> Recipe:
    """The base's values with SigLIP2 so400m at 512 pixels, 32 x 32 patches of 1152 channels."""
    return replace(
        concerto_base(data, output),
        recipe="concerto-base-siglip",
        images=ImageEncoderConfig(name="google/siglip2-so400m-patch16-512"),
        objective=ObjectiveConfig(image_width=1152),
        views=ViewConfig(image_size=512, patch_size=16),
    )
