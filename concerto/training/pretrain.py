"""The command: `accelerate launch -m concerto.training.pretrain --recipe … --data … --output …`.

A recipe's name gives every option its default; `--recipe NAME --help` shows them.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast, get_args

import numpy as np
import torch
import tyro

from concerto import hub
from concerto.checkpoints import read_checkpoint
from concerto.errors import ConcertoError, ConcertoWarning
from concerto.io import read
from concerto.points.point_cloud import PointCloud
from concerto.training.images.feature_cache import CachedTeacher
from concerto.training.images.named import load_teacher
from concerto.training.images.teacher import ImageTeacher
from concerto.training.pretraining.published import warm_start
from concerto.training.pretraining.task import Pretraining
from concerto.training.recipes import RECIPES, Recipe, RecipeName
from concerto.training.run.commands import run_trainer
from concerto.training.run.loop import TrainResult, make_accelerator, train
from concerto.training.run.stream import FEWEST_DRAWN, stream_for, tell_broken, transformed
from concerto.training.scenes.samples import Sample, SampleViews
from concerto.training.scenes.sources import SceneSource, open_scenes
from concerto.training.views.crops import ViewConfig, make_views

DEFAULT: RecipeName = "concerto-base"


def pretrain(recipe: Recipe) -> TrainResult:
    """Run a recipe, in as many processes as this is called in.

    Raises ConfigError, InputError, HubError, MissingExtraError before anything is computed where
    something is missing or does not fit; during the run, the errors of `train`.
    """
    accelerator = make_accelerator(recipe.loop)
    recipe.loop.forward_size(accelerator.num_processes)  # refuses a batch that does not divide
    source = open_scenes(
        recipe.data,
        split=recipe.split,
        streaming=recipe.streaming,
        images=recipe.views.use_images,
    )
    start = None if recipe.start_from is None else hub.locate(recipe.start_from)
    if start is not None:
        recipe = _inherit(recipe, start)
    image_encoder = _image_encoder(recipe, accelerator.device)
    scene = _picture_scene(recipe, source)
    torch.manual_seed(recipe.loop.seed)  # the same first weights in every process
    task = Pretraining(recipe, image_encoder, scene)
    if start is not None:
        warm_start(task.module, start.weights, start.config)
    transform = partial(_views, recipe.views, recipe.model.coord_scale)
    stream = stream_for(recipe.loop, accelerator, source, transform, recipe.workers)
    return train(task, stream.batches, recipe.loop, accelerator, samples=len(source))


def parse(arguments: Sequence[str]) -> Recipe:
    """A recipe, by name, with all that the command line says otherwise."""
    name = _recipe_name(arguments)
    return tyro.cli(
        Recipe,
        default=RECIPES[name](tyro.MISSING, tyro.MISSING),
        args=list(arguments),
        prog="python -m concerto.training.pretrain",
        description=f"{Recipe.__doc__}\n\nDefaults shown are those of --recipe {name}.",
    )


def main() -> None:
    """Run the command line. Exits with 1 and one line on stderr where it cannot be done."""
    run_trainer("concerto.training.pretrain", parse, pretrain)


def _recipe_name(arguments: Sequence[str]) -> RecipeName:
    """What --recipe says; a name that is none is left for the real parser to refuse."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", default=DEFAULT)
    name = parser.parse_known_args(arguments)[0].recipe
    return cast(RecipeName, name) if name in get_args(RecipeName) else DEFAULT


def _inherit(recipe: Recipe, start: hub.Source) -> Recipe:
    """What is made from weights is bound by their licence, unless the recipe states one. Warns
    where they are to be given another input than they know."""
    known = start.model.config if start.model is not None else None
    before = read_checkpoint(start.weights, start.config, known).config
    for name in ("grid_size", "coord_scale"):
        old, new = getattr(before, name), getattr(recipe.model, name)
        if old != new:
            warnings.warn(
                f"{recipe.start_from} was trained with {name} {old:g}, and goes on with {new:g}. "
                f"If that is not meant, pass --model.{name.replace('_', '-')} {old:g}.",
                ConcertoWarning,
                stacklevel=3,
            )
    if before.center != recipe.model.center:
        warnings.warn(
            f'{recipe.start_from} was trained with center "{before.center}", and views are centred '
            f'"{recipe.model.center}": positions will not be those it knows.',
            ConcertoWarning,
            stacklevel=3,
        )
    model = recipe.model.replace(
        license=recipe.model.license or before.license,
        base_model=recipe.model.base_model or before.base_model,
    )
    return replace(recipe, model=model)


def _image_encoder(recipe: Recipe, device: torch.device) -> ImageTeacher | None:
    images = recipe.images
    if images.name is None:
        return None
    dtype = getattr(torch, images.precision)
    encoder = load_teacher(images.name, device, dtype, recipe.views.image_size)
    return encoder if images.cache is None else CachedTeacher(encoder, images.cache)


def _picture_scene(recipe: Recipe, source: SceneSource) -> PointCloud | None:
    if not recipe.loop.picture_every:
        return None
    if recipe.picture_scene is not None:
        return read(recipe.picture_scene)
    for index in range(min(len(source), FEWEST_DRAWN)):
        first = transformed(source, lambda sample, _: sample.cloud(), index, recipe.loop.seed)
        if isinstance(first, PointCloud):
            return first
        if isinstance(first, ConcertoError):
            raise first
        tell_broken(first)
    return None


def _views(config: ViewConfig, scale: float, sample: Sample, seed: int) -> SampleViews:
    """Views as the encoder will be given points: coordinates times its coord_scale."""
    if scale != 1:
        sample = replace(sample, coord=sample.coord * np.float32(scale))
    return make_views(sample, config, seed)


if __name__ == "__main__":
    main()
