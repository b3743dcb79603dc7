"""Recipes of pretraining: a function each, from data and a folder to every value of the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from concerto.training.recipes.ours import concerto_base_siglip, concerto_small, concerto_tiny
from concerto.training.recipes.published import (
    concerto_base,
    concerto_large,
    concerto_large_video,
    sonata,
)
from concerto.training.recipes.recipe import ImageEncoderConfig, Recipe, RecipeName

RECIPES: dict[RecipeName, Callable[[tuple[str, ...], Path], Recipe]] = {
    "concerto-tiny": concerto_tiny,
    "concerto-small": concerto_small,
    "concerto-base": concerto_base,
    "concerto-large": concerto_large,
    "concerto-large-video": concerto_large_video,
    "concerto-base-siglip": concerto_base_siglip,
    "sonata": sonata,
}

__all__ = [
    "RECIPES",
    "ImageEncoderConfig",
    "Recipe",
    "RecipeName",
]
