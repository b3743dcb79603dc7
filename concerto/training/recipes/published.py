"""Recipes with published values: arXiv 2503.16429 (Sonata), 2510.23607 (Concerto), and the
configurations published with their code. Every default of `Recipe` and of its parts is that of
Concerto's base model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from concerto.checkpoints import DROP_PATH
from concerto.config import ConcertoConfig, PresetName
from concerto.training.pretraining.objective import ObjectiveConfig
from concerto.training.recipes.recipe import ImageEncoderConfig, Recipe
from concerto.training.run.loop import LoopConfig
from concerto.training.views.crops import ViewConfig

BATCH = 96


def concerto_base(data: tuple[str, ...], output: Path) -> Recipe:
    """Published for 32 GPUs of 3 samples each: ScanNet, ScanNet++, ARKitScenes, HM3D, S3DIS,
    Structured3D."""
    return Recipe(
        data=data,
        recipe="concerto-base",
        loop=LoopConfig(
            output=output,
            batch_size=BATCH,
            epochs=100,
            precision="bf16",
            clip_norm=3.0,
            picture_every=1000,
        ),
        model=encoder("base"),
    )


def concerto_large(data: tuple[str, ...], output: Path) -> Recipe:
    """The base's data and values, but for the size of the encoder and the gradients' bound."""
    base = concerto_base(data, output)
    return replace(
        base,
        recipe="concerto-large",
        loop=replace(base.loop, clip_norm=2.0),
        model=encoder("large"),
    )


def concerto_large_video(data: tuple[str, ...], output: Path) -> Recipe:
    """The large's values; its data are the large's and RealEstate10K, lifted from video."""
    return replace(concerto_large(data, output), recipe="concerto-large-video")


def sonata(data: tuple[str, ...], output: Path) -> Recipe:
    """From points alone: no images, no dropped colours and normals, twice the epochs, and targets
    of local views by a head of their own."""
    base = concerto_base(data, output)
    return replace(
        base,
        recipe="sonata",
        loop=replace(base.loop, epochs=200),
        images=ImageEncoderConfig(name=None),
        objective=ObjectiveConfig(
            mask_weight=2 / 8,
            roll_mask_weight=2 / 8,
            unmask_weight=4 / 8,
            cross_modal_weight=0.0,
            teacher_unmask_head=True,
        ),
        views=ViewConfig(use_images=False, drops=False),
    )


def encoder(size: PresetName) -> ConcertoConfig:
    """An encoder as it is trained."""
    return ConcertoConfig.preset(size).replace(drop_path=DROP_PATH)
