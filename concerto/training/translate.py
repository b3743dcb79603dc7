"""The command: `python -m concerto.training.translate --encoder … --clip … --data …`.

Trains the linear map of a translator. What comes out lies in OUTPUT/translator, as
`concerto.Translator.from_pretrained` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import tyro
from torch import Tensor

from concerto.card import ANY_SOURCE
from concerto.checkpoints import CARD_FILE, MODEL_FILES
from concerto.errors import CheckpointError, ConfigError, InputError
from concerto.files import write_text
from concerto.model import Concerto
from concerto.segmenter.over import fingerprint, same_prints
from concerto.training.images.dense_clip import dense_clip
from concerto.training.images.feature_cache import CachedTeacher
from concerto.training.images.named import load_teacher
from concerto.training.images.teacher import ImageTeacher
from concerto.training.run.checkpointing import list_checkpoints
from concerto.training.run.commands import run_trainer
from concerto.training.run.folder import check_free
from concerto.training.run.loop import TrainResult, make_accelerator, train
from concerto.training.run.processes import on_main
from concerto.training.run.stream import stream_for
from concerto.training.scenes.groups import distinct_samples
from concerto.training.scenes.labelled import Chosen, ClassesOf
from concerto.training.scenes.sources import SceneSource, open_scenes
from concerto.training.translation.aligned import PatchGrid, align, lay
from concerto.training.translation.card import how_it_was_trained
from concerto.training.translation.config import TranslateConfig, defaults
from concerto.training.translation.one_pass import OnePass, Pass, sum_over
from concerto.training.translation.task import Teaching, Translation
from concerto.translator import Translator, TranslatorConfig
from concerto.translator.card import translator_card
from concerto.translator.texts import TextFeatures
from concerto.translator.towers import (
    PACKAGED_TOWER,
    SENTENCES,
    absolute_tower,
    load_tower,
    local_tower,
)
from concerto.upload import Target, make_target

FOLDER = "translator"
# A variance below this share of the largest is noise, and not blown up to one.
FLOOR = 1e-6

if TYPE_CHECKING:
    from accelerate import Accelerator


def translate(config: TranslateConfig) -> TrainResult:
    """Train a translator, in as many processes as this is called in.

    Raises ConfigError, InputError, HubError, MissingExtraError before anything is computed where
    something is missing or does not fit; during the run, the errors of `train` and `OnePass`.
    """
    accelerator = make_accelerator(config.loop)
    if config.solver == "sgd":
        config.loop.forward_size(accelerator.num_processes)  # refuses a batch that does not divide
    source = _scenes(config, accelerator)
    encoder = Concerto.from_pretrained(
        config.encoder, device=accelerator.device, dtype=config.dtype
    )
    prints = fingerprint(encoder.state_dict())
    settings = config.settings() | {"model": encoder.config.to_dict(), "weights": prints}
    kind, teaching = _teaching(config, source.classes, encoder)
    grid = None
    if teaching.images is not None:
        size = teaching.images.image_size
        grid = PatchGrid(size, size // teaching.images.patch_size)
    transform = partial(align, config=encoder.config, grid=grid, poorer=config.degrade)
    data = Pass(source, transform, teaching, config.workers, config.loop.seed)
    target = on_main(accelerator, lambda: _check_output(config))
    if config.solver == "ridge":
        run = OnePass(data, config.loop, accelerator, settings, config.ridge)
        result = run.run()
    else:
        task = Translation(teaching, config.lr, config.weight_decay, settings)
        result = _descend(task, data, config, accelerator)
    if result.signal is None:
        solved = run.sums.solve(config.ridge) if config.solver == "ridge" else task.module.plain()
        url = on_main(accelerator, lambda: _write(config, kind, prints, solved, target))
        if accelerator.is_main_process:
            print(url or config.loop.output / FOLDER)
    return result


def parse(arguments: Sequence[str]) -> TranslateConfig:
    """The command line's options."""
    return tyro.cli(
        TranslateConfig,
        default=defaults(),
        args=list(arguments),
        prog="python -m concerto.training.translate",
        description=TranslateConfig.__doc__,
    )


def main() -> None:
    """Run the command line. Exits with 1 and one line on stderr where it cannot be done."""
    run_trainer("concerto.training.translate", parse, translate)


def _scenes(config: TranslateConfig, accelerator: Accelerator) -> SceneSource:
    """The samples to learn from. Raises InputError where labels are wanted and there are none.

    By labels a scene counts once, in however many samples its images are stored; but for those made
    poorer, as each is so in its own way.
    """
    by_images = config.targets == "images"
    opened = open_scenes(
        config.data, split=config.split, streaming=config.streaming, images=by_images
    )
    if by_images:
        return opened
    if not opened.classes:
        raise InputError(
            "These data have no labels. Prepare labelled scenes, or pass --targets images."
        )
    named = ClassesOf(opened, opened.classes)
    if config.degrade:
        return named
    return Chosen(named, on_main(accelerator, lambda: distinct_samples(named)))


def _teaching(
    config: TranslateConfig, names: Sequence[str], encoder: Concerto
) -> tuple[TranslatorConfig, Teaching]:
    """What kind of translator it will be, and the frozen parts. names: of the classes."""
    by_images = config.targets == "images"
    if by_images and config.image_features is None and _knows_no_images(config.clip):
        raise ConfigError(
            f"{config.clip} is a text tower without an image tower: pass --targets labels and "
            "labelled scenes, a CLIP model, or --image-features module:attribute in its space."
        )
    tower = load_tower(config.clip)
    kind = TranslatorConfig(
        encoder.config,
        absolute_tower(config.clip),
        tower.width,
        config.stages,
        encoder_source=_source(config),
        encoder_inside=config.with_encoder,
    )
    if not by_images:
        classes = [name.replace("_", " ") for name in names]
        vectors = TextFeatures(kind, tower)(classes, config.templates, encoder.device)
        kind = kind.replace(names=tuple(classes), name_templates=config.templates)
        return kind, Teaching(encoder, kind.chosen, None, vectors)
    images = _image_tower(config).to(encoder.device)
    if images.width != tower.width:
        raise ConfigError(
            f"The image features have {images.width} dimensions, the texts of {config.clip} "
            f"{tower.width}: they are not of one space."
        )
    return kind, Teaching(encoder, kind.chosen, images, None)


def _source(config: TranslateConfig) -> str | None:
    """Where the encoder is found again, from any folder; for one in the file no place on this
    machine, which tells nothing to others."""
    place = Path(config.encoder)
    if not place.exists():
        return config.encoder
    # Not resolved: where a link leads, in the Hub's cache, files have no names to know them by.
    return None if config.with_encoder else str(place.absolute())


def _knows_no_images(clip: str) -> bool:
    return clip == PACKAGED_TOWER or clip.startswith(SENTENCES)


def _image_tower(config: TranslateConfig) -> ImageTeacher:
    name, size = config.image_features, config.image_size
    teacher = dense_clip(config.clip, size) if name is None else load_teacher(name, image_size=size)
    teacher.autocast = config.dtype
    teacher.freeze()
    return teacher if config.image_cache is None else CachedTeacher(teacher, config.image_cache)


def _descend(
    task: Translation, data: Pass, config: TranslateConfig, accelerator: Accelerator
) -> TrainResult:
    loop = config.loop
    if not (loop.resume and list_checkpoints(loop.output)):
        task.module.start(sum_over(data, config.whiten_by, accelerator), FLOOR)
    stream = stream_for(loop, accelerator, data.source, data.transform, data.workers, lay)
    return train(task, stream.batches, loop, accelerator, samples=len(data.source))


def _check_output(config: TranslateConfig) -> Target | None:
    """Where to upload to. Raises, before anything is computed, where what comes out has no place,
    here or on the Hub."""
    check_free(config.loop.output, config.loop.resume)
    if config.push_to_hub is None:
        return None
    if not config.with_encoder and Path(config.encoder).exists():
        raise InputError(
            f"The encoder comes from {config.encoder}, which nobody else can reach: push it too, "
            "without --no-with-encoder."
        )
    if local_tower(config.clip) is not None:
        raise InputError(
            f"The text tower {config.clip} lies on this machine, which nobody else can reach: "
            "upload it first and name it by its repo, or leave --push-to-hub out."
        )
    return make_target(config.push_to_hub, private=config.private or None)


def _write(
    config: TranslateConfig,
    kind: TranslatorConfig,
    prints: str,
    solved: tuple[Tensor, Tensor],
    target: Target | None,
) -> str | None:
    """Write the translator beside the run, and upload it where asked; returns the URL.

    prints: the fingerprint of the encoder that it was trained on. Raises CheckpointError where
    another one is found by now.
    """
    # Again, because training may have had it in another precision.
    encoder = Concerto.from_pretrained(config.encoder, dtype="auto")
    if not same_prints(prints, fingerprint(encoder.state_dict())):
        raise CheckpointError(
            f"{config.encoder} does not hold the weights any more that this run began with. Put "
            "them back there, and --resume writes the translator."
        )
    translator = Translator(kind, encoder)
    with torch.no_grad():
        translator.map.weight.copy_(solved[0])
        translator.map.bias.copy_(solved[1])
    folder = config.loop.output / FOLDER
    how = how_it_was_trained(config.loop.output)
    card = translator_card(kind, target.repo_id if target else ANY_SOURCE, how)
    write_text(folder / CARD_FILE, card)
    translator.save_pretrained(folder)
    return None if target is None else target.upload(folder, MODEL_FILES)


if __name__ == "__main__":
    main()
