"""A segmenter in files: a folder of ours, or a published head.

Ours is `config.json` (see `SegmenterConfig`) and `model.safetensors`. Either both encoder and head
are in it, or the head alone, perhaps with low-rank adapters (LoRA), beside the encoder's name and a
fingerprint of its weights, see `Over`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from concerto import hub
from concerto.checkpoints import (
    SEGMENTER_TYPE,
    head_tensor_names,
    read_json,
    write_model,
)
from concerto.config import ConcertoConfig
from concerto.errors import CheckpointError, ConfigError
from concerto.heads import LinearConfig
from concerto.palette import SCANNET_CLASSES, SCANNET_PALETTE
from concerto.segmenter.config import SegmenterConfig
from concerto.segmenter.over import Over
from concerto.weight_files import read_weights


@dataclass(frozen=True)
class SegmenterFiles:
    """What was read. tensors: head.*, and encoder.* or lora.*, by our names. config: None where it
    is a published head's, and follows from the encoder. over: None where the encoder is inside."""

    tensors: dict[str, Tensor]
    config: SegmenterConfig | None
    over: Over | None


def holds_segmenter(source: hub.Source) -> bool:
    """Whether the files are a segmenter's, by their config or name alone."""
    if source.model is not None and source.model.over is not None:
        return True
    return source.config is not None and (
        read_json(source.config).get("model_type") == SEGMENTER_TYPE
    )


def read_segmenter(source: hub.Source, over: str | None = None) -> SegmenterFiles:
    """Read a folder of ours, or a published head.

    over: the encoder's source, instead of the one the files name. Raises CheckpointError where the
    files hold something else, ConfigError where the config is none, or the encoder is inside.
    """
    if source.config is None:
        return _published(source, over)
    values = read_json(source.config)
    kind = values.pop("model_type", None)
    if kind != SEGMENTER_TYPE:
        raise CheckpointError(
            f'{source.config} says model_type={kind!r}; a segmenter says "{SEGMENTER_TYPE}". '
            "An encoder has no classes: load it with concerto.Concerto."
        )
    named = values.pop("over", None)
    try:
        config = SegmenterConfig.from_dict(values)
        beneath = None if named is None else Over.from_dict(named)
    except ConfigError as error:
        raise ConfigError(f"{source.config}: {error}") from error
    if over is not None:
        if beneath is None:
            raise ConfigError(
                f"{source.weights} brings its own encoder; encoder={over!r} is for heads that were "
                "saved without theirs: leave it out."
            )
        beneath = replace(beneath, source=over)
    return SegmenterFiles(read_weights(source.weights).tensors, config, beneath)


def write_segmenter(
    folder: Path,
    config: SegmenterConfig,
    tensors: Mapping[str, Tensor],
    over: Over | None = None,
) -> None:
    """Write config.json and model.safetensors, each whole or not at all. tensors, over: as in
    `SegmenterFiles`."""
    beneath = {} if over is None else {"over": asdict(over)}
    write_model(folder, SEGMENTER_TYPE, config.to_dict() | beneath, tensors)


def published_head_config(
    encoder: ConcertoConfig, tensors: Mapping[str, Tensor], file: Path
) -> SegmenterConfig:
    """What a published linear head is, over its encoder.

    Raises CheckpointError where it does not read all of this encoder's stages.
    """
    width, wanted = tensors["head.linear.weight"].shape[1], sum(encoder.channels)
    if width != wanted:
        raise CheckpointError(
            f"{file} is a head for features of {width} channels, and the encoder's stages have "
            f"{wanted} together: it was trained on another encoder."
        )
    count = len(tensors["head.linear.weight"])
    known = count == len(SCANNET_CLASSES)
    return SegmenterConfig(
        encoder=encoder,
        head=LinearConfig(tuple(range(encoder.stages))),
        classes=SCANNET_CLASSES if known else tuple(f"class {k}" for k in range(count)),
        palette=SCANNET_PALETTE if known else (),
    )


def _published(source: hub.Source, over: str | None) -> SegmenterFiles:
    """A published linear head, without its encoder."""
    names = dict(head_tensor_names((), qkv_bias=True))
    found = read_weights(source.weights).tensors
    if set(names) != set(found):
        raise CheckpointError(
            f"{source.weights} holds no segmentation head: its tensors are not "
            f"{' and '.join(names)}."
        )
    named = over or (source.model.over if source.model is not None else None)
    if named is None:
        raise CheckpointError(
            f"{source.weights} holds a head without its encoder: pass encoder=, the name or folder "
            "of the one that it was trained on."
        )
    return SegmenterFiles({names[k]: v.clone() for k, v in found.items()}, None, Over(named, None))
