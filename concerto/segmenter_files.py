"""A segmenter in files: a folder of ours, or a published head.

Ours is `config.json` (see `SegmenterConfig`) and `model.safetensors`. Either both encoder and head
are in it, or the head alone, perhaps with low-rank adapters (LoRA), beside the encoder's name and a
fingerprint of its weights: over another encoder such a head would give classes all the same, and
wrong ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
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
from concerto.fields import check_keys, check_numbers, check_object, check_texts
from concerto.heads import DecoderConfig, HeadConfig, KnnConfig, LinearConfig
from concerto.palette import SCANNET_CLASSES, SCANNET_PALETTE, distinct_colors
from concerto.weight_files import read_weights

HEAD_TYPES: dict[str, type[LinearConfig] | type[DecoderConfig] | type[KnnConfig]] = {
    "linear": LinearConfig,
    "decoder": DecoderConfig,
    "knn": KnnConfig,
}
LORA = "lora."
# Values of each tensor that go into a fingerprint.
PRINTED = 64
# Hexadecimal digits of each of its digests.
DIGITS = 16


@dataclass(frozen=True)
class SegmenterConfig:
    """What a segmenter is, apart from its weights.

    classes: names, in the order of the head's outputs. palette: a colour (0-255) for each; distinct
    ones where none are given. unseen: classes of which training had no example.
    """

    encoder: ConcertoConfig
    head: HeadConfig
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] = ()
    unseen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ConfigError where classes, colours and unseen classes do not fit together."""
        if not isinstance(self.encoder, ConcertoConfig):
            raise ConfigError(
                f"encoder is {type(self.encoder).__name__}; it must be a ConcertoConfig."
            )
        if not isinstance(self.head, HeadConfig):
            raise ConfigError(
                f"head is {type(self.head).__name__}; it must be a LinearConfig, DecoderConfig or "
                "KnnConfig."
            )
        check_texts(self, "classes", "unseen")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"classes are {self.classes}; name at least one, and each once.")
        palette = _colors(self.palette) or distinct_colors(len(self.classes))
        object.__setattr__(self, "palette", palette)
        if len(self.palette) != len(self.classes):
            raise ConfigError(
                f"There are {len(self.palette)} colours for {len(self.classes)} classes."
            )
        if not set(self.unseen) <= set(self.classes):
            raise ConfigError(f"unseen is {self.unseen}; not all of these are classes.")

    def to_dict(self) -> dict[str, Any]:
        """The fields, as config.json holds them."""
        kind = next(name for name, known in HEAD_TYPES.items() if isinstance(self.head, known))
        return {
            "encoder": self.encoder.to_dict(),
            "head": {"type": kind, **asdict(self.head)},
            "classes": self.classes,
            "palette": self.palette,
            "unseen": self.unseen,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> SegmenterConfig:
        """The inverse of `to_dict`. Raises ConfigError where it is not one."""
        known = {field.name for field in fields(SegmenterConfig)}
        check_keys("The config of a segmenter", values, known, known)
        check_object("encoder", values["encoder"])
        return SegmenterConfig(
            **{
                **values,
                "encoder": ConcertoConfig.from_dict(values["encoder"]),
                "head": _head(values["head"]),
            }
        )


def _head(values: Any) -> HeadConfig:
    """A head's config of its fields and its type. Raises ConfigError."""
    check_object("head", values)
    given = dict(values)
    name = given.pop("type", None)
    if not isinstance(name, str) or name not in HEAD_TYPES:
        raise ConfigError(
            f"The head's type is {name!r}; it must be one of {', '.join(HEAD_TYPES)}."
        )
    kind = HEAD_TYPES[name]
    known = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    check_keys(f"The {name} head", given, known, needed)
    return kind(**given)


def _colors(palette: Any) -> tuple[tuple[int, int, int], ...]:
    """As tuples. Raises ConfigError where these are no colours."""
    if not isinstance(palette, (tuple, list)):
        raise ConfigError(f"palette is {palette!r}; it must be a sequence of colours.")
    for color in palette:
        if (
            not isinstance(color, (tuple, list))
            or len(color) != 3
            or not all(type(value) is int and 0 <= value <= 255 for value in color)
        ):
            raise ConfigError(f"palette has {color!r}; a colour is three integers from 0 to 255.")
    return tuple((red, green, blue) for red, green, blue in palette)


@dataclass(frozen=True)
class Over:
    """The encoder that a head was trained on. source: what `from_pretrained` is given for it.
    fingerprint: of its weights. lora_scale: alpha / rank of the adapters, None without any."""

    source: str
    fingerprint: str | None
    lora_scale: float | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError where a field is of another kind."""
        for name in ("source", "fingerprint"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name == "source" or value is not None):
                raise ConfigError(f"{name} is {value!r}; it must be a text.")
        if self.lora_scale is not None:
            check_numbers(self, "lora_scale")

    @staticmethod
    def from_dict(values: Any) -> Over:
        """The fields, as config.json holds them. Raises ConfigError for others."""
        check_object("over", values)
        check_keys("over", values, {field.name for field in fields(Over)}, {"source"})
        return Over(**{"fingerprint": None, **values})


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


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Two digests of an encoder's names and of the first values of each of its tensors.

    One is of values rounded to bfloat16, the other of values rounded to float16 before that: see
    `same_prints`.
    """
    return _digest(tensors, torch.float32) + _digest(tensors, torch.float16)


def same_prints(one: str, other: str) -> bool:
    """Whether two fingerprints are of one encoder, be it held in different precisions.

    Rounding to bfloat16 makes values alike, whether they were held in it or in more; but not where
    they were held in float16, as who rounds twice may end elsewhere. The second digest is what such
    values give. Fingerprints of earlier versions are the first digest alone.
    """
    return not {one[:DIGITS], one[DIGITS:]}.isdisjoint({other[:DIGITS], other[DIGITS:]} - {""})


def _digest(tensors: Mapping[str, Tensor], first: torch.dtype) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().flatten()[:PRINTED].cpu().to(first).to(torch.bfloat16)
        digest.update(name.encode() + values.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:DIGITS]


def join_encoder(
    files: SegmenterFiles, over: Over, encoder: Mapping[str, Tensor], place: Path
) -> dict[str, Tensor]:
    """All tensors of a segmenter whose head was saved alone, adapters merged. place: for messages.

    Raises CheckpointError where the head was trained on another encoder.
    """
    if over.fingerprint is not None and not same_prints(over.fingerprint, fingerprint(encoder)):
        raise CheckpointError(
            f"{place} is a head for another encoder: {over.source} does not hold the weights that "
            "it was trained on. Where they lie elsewhere, pass encoder=."
        )
    adapters = {name: t for name, t in files.tensors.items() if name.startswith(LORA)}
    head = {name: t for name, t in files.tensors.items() if name not in adapters}
    if over.lora_scale is not None:
        encoder = merge_adapters(encoder, adapters, over.lora_scale)
    return head | {f"model.{name}": tensor for name, tensor in encoder.items()}


def merge_adapters(
    encoder: Mapping[str, Tensor], adapters: Mapping[str, Tensor], scale: float
) -> dict[str, Tensor]:
    """The encoder's tensors with W + scale · B A for each adapted W (arXiv 2106.09685).

    adapters: lora.NAME.a (rank, in) and lora.NAME.b (out, rank) for a tensor NAME.weight.

    Raises CheckpointError where the encoder has no such tensor, or one of another shape.
    """
    merged = dict(encoder)
    for key, down in adapters.items():
        if not key.endswith(".a"):
            continue
        name = key.removeprefix(LORA).removesuffix(".a") + ".weight"
        up = adapters.get(key.removesuffix("a") + "b")
        if name not in merged or up is None:
            raise CheckpointError(f"There is an adapter for {name}, and the encoder has none such.")
        fits = (up.ndim, down.ndim) == (2, 2) and up.shape[1] == down.shape[0]
        if not fits or (len(up), down.shape[1]) != merged[name].shape:
            raise CheckpointError(
                f"The adapter of {name} is {tuple(up.shape)} by {tuple(down.shape)}, and the "
                f"encoder's tensor {tuple(merged[name].shape)}: it was trained on another encoder."
            )
        change = scale * (up.float() @ down.float())
        merged[name] = (merged[name].float() + change.to(merged[name].device)).to(encoder[name])
    return merged


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
    content = read_weights(source.weights).tensors
    # Training states put "module." before every name.
    found = {name.removeprefix("module."): tensor for name, tensor in content.items()}
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
