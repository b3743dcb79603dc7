"""The command: `accelerate launch -m concerto.training.translate --encoder … --clip … --data …`.

Trains the linear map of a translator. What comes out lies in OUTPUT/translator, as
`concerto.Translator.from_pretrained` reads it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import tyro
from torch import Tensor

from concerto.errors import ConcertoError, ConcertoWarning, ConfigError, InputError
from concerto.model import Concerto
from concerto.training.aligned import AlignedBatch, PatchGrid, align, lay
from concerto.training.checkpointing import list_checkpoints
from concerto.training.dense_clip import dense_clip
from concerto.training.feature_cache import CachedTeacher
from concerto.training.image_teacher import ImageTeacher
from concerto.training.images import load_teacher
from concerto.training.launch import end_with_launcher, start_processes
from concerto.training.loop import TrainResult, make_accelerator, train
from concerto.training.one_pass import OnePass, Pass, sum_over
from concerto.training.processes import on_main
from concerto.training.scenes import SceneSource, open_scenes
from concerto.training.stream import BrokenSample, SampleStream
from concerto.training.translate_card import how_it_was_trained
from concerto.training.translate_config import TranslateConfig, defaults
from concerto.training.translation import Teaching, Translation
from concerto.translator import TranslatorConfig
from concerto.translator.storing import ENCODER, write_translator
from concerto.translator.texts import TextFeatures
from concerto.translator.towers import PACKAGED_TOWER, SENTENCES, load_tower
from concerto.upload import Target, make_target

FOLDER = "translator"
COMMIT_MESSAGE = "Upload a Concerto translator"
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
    source = open_scenes(config.data, split=config.split, streaming=config.streaming)
    encoder = Concerto.from_pretrained(
        config.encoder, device=accelerator.device, dtype=config.dtype
    )
    kind, teaching = _teaching(config, source, encoder)
    grid = None
    if teaching.images is not None:
        size = teaching.images.image_size
        grid = PatchGrid(size, size // teaching.images.patch_size)
    transform = partial(align, config=encoder.config, grid=grid)
    data = Pass(source, transform, teaching, config.workers, _tell_broken)
    target = _target(config, accelerator)
    if config.solver == "ridge":
        run = OnePass(data, config.loop, accelerator, config.settings(), config.ridge)
        result = run.run()
    else:
        task = Translation(teaching, config.lr, config.weight_decay, config.settings())
        result = _descend(task, data, config, accelerator)
    if result.signal is None:
        solved = run.sums.solve(config.ridge) if config.solver == "ridge" else task.module.plain()
        url = on_main(accelerator, lambda: _write(config, kind, solved, target))
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
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    warnings.showwarning = _print_warning  # type: ignore[assignment]
    end_with_launcher()
    try:
        config = parse(arguments)
        start_processes("concerto.training.translate")
        result = translate(config)
    except ConcertoError as error:
        if "--debug" in sys.argv:
            raise
        sys.exit(f"error: {error}")
    sys.exit(result.exit_code)


def _teaching(
    config: TranslateConfig, source: SceneSource, encoder: Concerto
) -> tuple[TranslatorConfig, Teaching]:
    """What kind of translator it will be, and the frozen parts."""
    by_images = config.targets == "images"
    if by_images and config.image_features is None and _knows_no_images(config.clip):
        raise ConfigError(
            f"{config.clip} is a text tower without an image tower: pass --targets labels and "
            "labelled scenes, a CLIP model, or --image-features module:attribute in its space."
        )
    tower = load_tower(config.clip)
    kind = TranslatorConfig(
        encoder.config, config.clip, tower.width, config.stages, encoder_source=config.encoder
    )
    if not by_images:
        if not source.classes:
            raise InputError(
                "These data have no labels. Prepare labelled scenes, or pass --targets images."
            )
        classes = [name.replace("_", " ") for name in source.classes]
        names = TextFeatures(kind, tower)(classes, config.templates, encoder.device)
        return kind, Teaching(encoder, kind.chosen, None, names)
    images = _image_tower(config).to(encoder.device)
    if images.width != tower.width:
        raise ConfigError(
            f"The image features have {images.width} dimensions, the texts of {config.clip} "
            f"{tower.width}: they are not of one space."
        )
    return kind, Teaching(encoder, kind.chosen, images, None)


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
    stream: SampleStream[AlignedBatch] = SampleStream(
        data.source,
        data.transform,
        batch_size=loop.batch_size // loop.accumulate,
        seed=loop.seed,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
        workers=config.workers,
        on_broken=_tell_broken,
        collate=lay,
    )
    return train(task, stream.batches, loop, accelerator, samples=len(data.source))


def _target(config: TranslateConfig, accelerator: Accelerator) -> Target | None:
    """Where to upload to, made before anything is computed."""
    repo = config.push_to_hub
    if repo is None:
        return None
    return on_main(
        accelerator,
        lambda: make_target(repo, private=config.private or None, commit_message=COMMIT_MESSAGE),
    )


def _write(
    config: TranslateConfig,
    kind: TranslatorConfig,
    solved: tuple[Tensor, Tensor],
    target: Target | None,
) -> str | None:
    """Write the translator beside the run, and upload it where asked; returns the URL."""
    # Again, because training may have had it in another precision.
    encoder = Concerto.from_pretrained(config.encoder, dtype="auto")
    tensors = {ENCODER + name: tensor for name, tensor in encoder.state_dict().items()}
    tensors |= {"map.weight": solved[0].float(), "map.bias": solved[1].float()}
    folder = config.loop.output / FOLDER
    files = write_translator(
        folder,
        kind,
        tensors,
        config.with_encoder,
        None if target is None else target.repo_id,
        how_it_was_trained(config.loop.output),
    )
    return None if target is None else target.upload(folder, files)


def _tell_broken(sample: BrokenSample) -> None:
    warnings.warn(f"Left out: {sample.reason}", ConcertoWarning, stacklevel=2)


def _print_warning(message: Warning | str, *_: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
