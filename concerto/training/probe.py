"""The command: `python -m concerto.training.probe --mode linear|decoder|full|lora …`.

It leaves a segmenter in the folder of the run, under `model/`, with a card; `--push-to-hub` uploads
it. How good it is, `python -m concerto.training.evaluate` tells.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import tyro

from concerto.config import ConcertoConfig
from concerto.errors import ConcertoWarning
from concerto.heads import DecoderConfig, LinearConfig, make_head
from concerto.model import Concerto
from concerto.segmenter import Segmenter, SegmenterConfig
from concerto.training.finetuning.adapters import add_adapters
from concerto.training.finetuning.config import RANDOM, ProbeConfig
from concerto.training.finetuning.frozen_features import frozen_features
from concerto.training.finetuning.linear_probe import (
    fit_linear,
    gather_features,
    labelled_rows,
    row_choice,
)
from concerto.training.finetuning.output import check_output, push, save_segmenter
from concerto.training.finetuning.task import Finetuning, SegmentationModule
from concerto.training.run.commands import run_trainer
from concerto.training.run.loop import TrainResult, make_accelerator, train
from concerto.training.run.processes import on_main
from concerto.training.run.state import gather_module
from concerto.training.run.stream import BrokenSample, stream_for, tell_broken
from concerto.training.scenes.groups import distinct_samples, group_by_scene
from concerto.training.scenes.labelled import (
    Chosen,
    ClassesOf,
    SomeLabels,
    choose_scenes,
    count_classes,
    labelled_samples,
)
from concerto.training.scenes.samples import Sample
from concerto.training.scenes.sources import BROKEN, SceneSource, open_scenes
from concerto.training.translation.one_pass import check_broken
from concerto.training.views.labelled import (
    LabelledView,
    LabelledViewConfig,
    collate_labelled,
    make_labelled_view,
)

if TYPE_CHECKING:
    from accelerate import Accelerator

# Features (n, C) and classes (n,).
LabelledFeatures = tuple[np.ndarray, np.ndarray]
Part = TypeVar("Part")


def probe(config: ProbeConfig) -> TrainResult:
    """Run it, in as many processes as this is called in.

    Raises ConfigError, InputError, HubError, MissingExtraError before anything is computed where
    something is missing or does not fit; during the run, the errors of `train`.
    """
    # Without steps there is nothing to track.
    loop = replace(config.loop, tracker="none") if config.protocol == "cached" else config.loop
    accelerator = make_accelerator(loop)
    config = _mixing(config, accelerator)
    source = labelled_source(config, accelerator)
    model = load_encoder(config)
    segmenter = SegmenterConfig(
        encoder=model.config,
        head=_head_config(config, model.config),
        classes=source.classes,
        unseen=on_main(accelerator, lambda: _unseen(source)),
    )
    target = check_output(config) if accelerator.is_main_process else None
    torch.manual_seed(config.loop.seed)  # the same first weights in every process
    if config.protocol == "cached":
        if accelerator.is_main_process:
            _tell_alone(accelerator)
            fitted = _fit(config, model.to(accelerator.device), segmenter, source)
            save_segmenter(config, segmenter, fitted.state_dict(), target)
            push(config, target)
        return TrainResult(0, 0)
    module = _module(config, model, segmenter)
    task = Finetuning(module, *config.rates(), config.weight_decay, _settings(config, segmenter))
    view = partial(_view, config.views, model.config, config.labels is not None)
    stream = stream_for(config.loop, accelerator, source, view, config.workers, collate_labelled)
    result = train(task, stream.batches, config.loop, accelerator, samples=len(source))
    if result.signal is None:
        tensors = _tensors(task.module, accelerator.is_main_process)
        if accelerator.is_main_process:
            save_segmenter(config, segmenter, tensors, target)
            push(config, target)
    return result


def labelled_source(config: ProbeConfig, accelerator: Accelerator) -> SceneSource:
    """The scenes to learn from, with as many of the labels as the config leaves.

    Every point comes once, though a scene with many images is stored in several samples.

    Samples without labels are left out. Raises InputError where there are no others, or no classes.
    """
    opened = open_scenes(config.data, split=config.split, images=False)
    names = opened.classes
    if config.classes is not None:
        names = tuple(name.strip() for name in config.classes.split(","))
    classes = ClassesOf(opened, names)
    labelled = Chosen(classes, on_main(accelerator, lambda: labelled_samples(classes)))
    scenes = choose_scenes(labelled, config.scenes, config.loop.seed)
    source = Chosen(scenes, on_main(accelerator, lambda: distinct_samples(scenes)))
    if config.labels is None:
        return source
    return SomeLabels(source, config.labels, config.loop.seed)


def load_encoder(config: ProbeConfig) -> Concerto:
    """The encoder to build on. Raises HubError or CheckpointError where there is none."""
    if config.encoder.startswith(RANDOM):
        preset = ConcertoConfig.preset(config.encoder.removeprefix(RANDOM))  # type: ignore[arg-type]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.loop.seed)
            model = Concerto(preset, config.backend)
    else:
        model = Concerto.from_pretrained(config.encoder, backend=config.backend)
    if config.drop_path is not None:
        model = _with_drop_path(model, config)
    if config.license is not None:
        model.config = model.config.replace(license=config.license)
    return model


def main() -> None:
    """Run the command line. Exits with 1 and one line on stderr where it cannot be done."""
    run_trainer("concerto.training.probe", parse, probe)


def parse(arguments: Sequence[str]) -> ProbeConfig:
    """What the command line says."""
    return tyro.cli(
        ProbeConfig,
        args=list(arguments),
        prog="python -m concerto.training.probe",
        description=ProbeConfig.__doc__,
    )


def _mixing(config: ProbeConfig, accelerator: Accelerator) -> ProbeConfig:
    """The config as it will be: a pass of one scene has none to mix it with."""
    if config.protocol == "cached" or not config.views.mix:
        return config
    if config.loop.forward_size(accelerator.num_processes) > 1:
        return config
    if accelerator.is_main_process:
        warnings.warn(
            "A forward pass has one scene, so none are mixed. Pass a larger --batch-size or a "
            "smaller --accumulate, or start fewer processes; --views.mix 0 says that none should.",
            ConcertoWarning,
            stacklevel=2,
        )
    return replace(config, views=replace(config.views, mix=0.0))


def _tell_alone(accelerator: Accelerator) -> None:
    if accelerator.num_processes > 1:
        warnings.warn(
            "--protocol cached is the work of a single process; the others end here.",
            ConcertoWarning,
            stacklevel=2,
        )


def _head_config(config: ProbeConfig, encoder: ConcertoConfig) -> LinearConfig | DecoderConfig:
    if config.mode in ("linear", "lora"):
        return LinearConfig(tuple(range(encoder.stages)))
    return config.decoder


def _with_drop_path(model: Concerto, config: ProbeConfig) -> Concerto:
    """The same weights in blocks that leave out branches as often as the config says."""
    other = Concerto(model.config.replace(drop_path=config.drop_path), config.backend)
    other.load_state_dict(model.state_dict())
    return other


def _module(config: ProbeConfig, model: Concerto, segmenter: SegmenterConfig) -> SegmentationModule:
    """Encoder and new head, with what is not trained set apart."""
    head = make_head(segmenter.head, model.config, len(segmenter.classes))
    model.encoder.requires_grad_(config.mode == "full")
    if config.mode == "lora":
        add_adapters(model.encoder, config.lora)
    return SegmentationModule(model.encoder, head)


def _fit(
    config: ProbeConfig, model: Concerto, segmenter: SegmenterConfig, source: SceneSource
) -> Segmenter:
    """The linear protocol without steps: features once, then a convex fit."""
    from tqdm import tqdm

    classes = len(segmenter.classes)
    groups = group_by_scene(source)
    bar = tqdm(groups, desc="features", unit="scene")
    # Chosen here, as gather_features would: what is not kept need not be put together.
    keep = row_choice(len(groups), config.fit.points, config.loop.seed)
    read = partial(_scene_features, model.eval(), source, classes=classes, keep=keep)
    scenes = _but_for_broken(read, bar, "scenes")
    data = gather_features(scenes, len(groups), config.fit.points, config.loop.seed)
    found = fit_linear(data, classes, config.fit, config.loop.seed)
    print(f"weight decay {found.weight_decay:g}, chosen on scenes held out")
    fitted = Segmenter(segmenter)
    fitted.model = model
    fitted.head.load_state_dict({"linear.weight": found.weight, "linear.bias": found.bias})
    return fitted


def _but_for_broken(
    read: Callable[[Part], LabelledFeatures], parts: Collection[Part], what: str
) -> Iterator[LabelledFeatures]:
    """What is read of each scene, or sample of one, those left out that cannot be read or encoded.

    Raises InputError where that is over 5 % of them. what: they are.
    """
    broken = 0
    for done, part in enumerate(parts, 1):
        try:
            yield read(part)
        except BROKEN as error:
            tell_broken(BrokenSample(str(error) or repr(error)))
            broken += 1
        check_broken(broken, done, len(parts), what)


def _scene_features(
    model: Concerto,
    source: SceneSource,
    samples: Sequence[int],
    classes: int,
    keep: Callable[[np.ndarray], np.ndarray],
) -> LabelledFeatures:
    """Features (m, C) and classes (m,) of the voxels of all samples of a scene, the rows that
    `keep` says by their classes. Of several samples, broken ones are left out."""
    if len(samples) == 1:
        return frozen_features(model, source[samples[0]], classes, keep=keep)
    # Which rows of each is known only when the classes of all are.
    read = partial(_sample_features, model, source, classes=classes)
    parts = list(_but_for_broken(read, samples, "samples of a scene"))
    features, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    rows = keep(labels)
    return features[rows], labels[rows]


def _sample_features(
    model: Concerto, source: SceneSource, number: int, classes: int
) -> LabelledFeatures:
    """Features and classes of the labelled voxels of a sample."""
    return frozen_features(model, source[number], classes, keep=labelled_rows)


def _unseen(source: SceneSource) -> tuple[str, ...]:
    """The classes that no point has; they are warned of."""
    counts = count_classes(source)
    unseen = tuple(name for name, count in zip(source.classes, counts, strict=True) if not count)
    if unseen:
        warnings.warn(
            f"No point to learn from has class {', '.join(unseen)}: a segmenter will never say so, "
            "and results count them as n/a.",
            ConcertoWarning,
            stacklevel=2,
        )
    return unseen


def _tensors(module: SegmentationModule, keep: bool) -> dict[str, torch.Tensor]:
    """Whole, by the names of a segmenter. Every process must call it, as for `gather_module`."""
    state = gather_module(module, keep)
    return {k if k.startswith("head.") else f"model.{k}": v for k, v in state.items()}


def _settings(config: ProbeConfig, segmenter: SegmenterConfig) -> dict[str, Any]:
    """The config, but for what the loop keeps itself and what changes no result."""
    how = ("loop", "workers", "backend", "push_to_hub", "private", "license", "merge", "fit")
    values = {k: v for k, v in asdict(config).items() if k not in how}
    return values | {"classes": segmenter.classes, "model": segmenter.encoder.to_dict()}


def _view(
    views: LabelledViewConfig, model: ConcertoConfig, few: bool, sample: Sample, seed: int
) -> LabelledView:
    return make_labelled_view(sample, seed, views, model, keep_labels=few)


if __name__ == "__main__":
    main()
