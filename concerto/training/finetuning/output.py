"""What a run of fine-tuning leaves: a segmenter with a card, in `model/` of the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from concerto.card import ANY_SOURCE, public_name
from concerto.checkpoints import CARD_FILE, CONFIG_FILE, MODEL_FILES
from concerto.errors import ConfigError, InputError
from concerto.files import check_writable, write_text
from concerto.known_models import PACKAGED
from concerto.segmenter.card import segmenter_card
from concerto.segmenter.config import SegmenterConfig
from concerto.segmenter.over import Over, fingerprint, merge_adapters
from concerto.segmenter.storing import write_segmenter
from concerto.training.finetuning.adapters import split_tensors
from concerto.training.finetuning.config import RANDOM, ProbeConfig
from concerto.upload import Target, make_target

FOLDER = "model"


def check_output(config: ProbeConfig) -> Target | None:
    """Where to upload to, made sure of before the work.

    Raises InputError or HubError, also for adapters of an encoder that lies here alone, ConfigError
    where the folder holds a segmenter already.
    """
    check_writable(config.loop.output)
    # The loop looks for checkpoints, and the cached protocol leaves none.
    made = (config.loop.output / FOLDER / CONFIG_FILE).exists()
    if made and not config.loop.resume:
        raise ConfigError(
            f"{config.loop.output} already holds a run. Go on with it by --resume, which begins "
            "anew where there is no checkpoint, or choose another --output."
        )
    if config.push_to_hub is None:
        return None
    if config.mode == "lora" and not config.merge and Path(config.encoder).exists():
        raise InputError(
            f"The encoder comes from {config.encoder}, which nobody else can reach, and adapters "
            "are pushed without it: pass --merge too, or build on an encoder on the Hub."
        )
    return make_target(
        config.push_to_hub,
        private=config.private or None,
        commit_message="Upload a Concerto segmenter",
    )


def save_segmenter(
    config: ProbeConfig,
    segmenter: SegmenterConfig,
    tensors: Mapping[str, Tensor],
    target: Target | None = None,
) -> Path:
    """Write the segmenter; with adapters, head and adapters alone unless they are to be merged.

    tensors: head.* and model.encoder.*. target: where it will be uploaded to, for the card.
    """
    folder = config.loop.output / FOLDER
    frozen = config.mode in ("linear", "decoder")
    untrained = segmenter.encoder.untrained and frozen
    own = replace(segmenter, encoder=segmenter.encoder.replace(untrained=untrained))
    head = {name: t for name, t in tensors.items() if name.startswith("head.")}
    named = {k.removeprefix("model."): t for k, t in tensors.items() if k not in head}
    encoder, adapters = split_tensors(named)
    # Random weights lie nowhere that adapters could be put on, and those that come with the library
    # change from one version to the next.
    lasting = config.encoder != PACKAGED and not config.encoder.startswith(RANDOM)
    if adapters and not config.merge and lasting:
        place = Path(config.encoder)
        # Not resolved: where a link leads, in the Hub's cache, files have no names to know them by.
        source = str(place.absolute()) if place.exists() else config.encoder
        # Of the weights that the adapters were trained on: what lies there may have changed since.
        over = Over(source, fingerprint(encoder), config.lora.scale)
        write_segmenter(folder, own, head | adapters, over)
    else:
        if adapters:
            encoder = merge_adapters(encoder, adapters, config.lora.scale)
        whole = {f"model.{name}": tensor for name, tensor in encoder.items()}
        write_segmenter(folder, own, head | whole)
    source = target.repo_id if target is not None else ANY_SOURCE
    write_text(folder / CARD_FILE, segmenter_card(own, source, _story(config)))
    print(folder)
    return folder


def push(config: ProbeConfig, target: Target | None) -> None:
    """Upload what was saved. Raises HubError where the Hub does not take it."""
    if target is not None:
        print(target.upload(config.loop.output / FOLDER, MODEL_FILES))


def _story(config: ProbeConfig) -> str:
    """How it was trained, for the card."""
    rows = {
        "encoder": public_name(config.encoder),
        "mode": config.mode,
        "protocol": config.protocol,
        "data": f"{', '.join(map(public_name, config.data))} ({config.split})",
        "scenes": f"{config.scenes:.0%}",
        "labels a scene": "all" if config.labels is None else f"{config.labels}",
        "seed": f"{config.loop.seed}",
    }
    if config.protocol == "published":
        lr, block_lr = config.rates()
        rows["learning rate"] = f"{lr:g}, of blocks {block_lr:g}"
        length = config.loop.max_steps
        rows["length"] = f"{config.loop.epochs:g} epochs" if length is None else f"{length} steps"
        rows["batch"] = f"{config.loop.batch_size} scenes, mixed with p {config.views.mix:g}"
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"## How it was trained\n\n| | |\n|---|---|\n{lines}\n"
