"""Weights in files: the published names and layout and ours, both read and both written.

Ours is a folder: `config.json` (the fields of `ConcertoConfig`) and `model.safetensors`. The
published one is a pickle of {"config", "state_dict"}, or a whole training state, which holds no
config. Pickles are only ever read with `weights_only=True`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concerto.config import ConcertoConfig
from concerto.encoder.serialization import ORDERS
from concerto.errors import CheckpointError, ConfigError
from concerto.files import replacing, write_json
from concerto.weight_files import OWN_FIELDS_KEY, Content, read_weights

MODEL_TYPE = "concerto"
SEGMENTER_TYPE = "concerto-segmenter"
TRANSLATOR_TYPE = "concerto-translator"
# Who loads what is no encoder alone.
LOADERS = {SEGMENTER_TYPE: "concerto.Segmenter", TRANSLATOR_TYPE: "concerto.Translator"}
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
# What a saved model is on the Hub.
MODEL_FILES = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE)

# The published name of something, and ours.
Names = tuple[str, str]
EMBEDDING_NAMES = (
    ("embedding.stem.linear", "encoder.embedding.linear"),
    ("embedding.stem.norm", "encoder.embedding.norm"),
)
_ANCHOR = tuple(name + ".weight" for name in EMBEDDING_NAMES[0])
MASK_TOKEN_NAMES = ("embedding.mask_token", "encoder.embedding.mask_token")
STAGE_NAMES = ("enc.enc{stage}", "encoder.stages.{stage}")
DOWN_NAMES = (("down.proj", "down.linear"), ("down.norm.0", "down.norm"))
BLOCK_NAMES = ("block{block}", "blocks.{block}")
LAYER_NAMES = (
    ("cpe.0", "cpe.conv"),
    ("cpe.1", "cpe.linear"),
    ("cpe.2", "cpe.norm"),
    ("norm1.0", "norm1"),
    ("attn.qkv", "attention.qkv"),
    ("attn.proj", "attention.proj"),
    ("norm2.0", "norm2"),
    ("mlp.0.fc1", "mlp.fc1"),
    ("mlp.0.fc2", "mlp.fc2"),
)
# A decoder, and what follows encoder or decoder, in a segmenter.
DECODER_NAMES = ("dec.dec{stage}", "head.stages.{stage}")
UP_NAMES = (
    ("up.proj.0", "up.linear"),
    ("up.proj.1", "up.norm"),
    ("up.proj_skip.0", "up.skip_linear"),
    ("up.proj_skip.1", "up.skip_norm"),
)
HEAD_NAMES = ("seg_head", "head.linear")

# What every published config says of choices that this encoder does not offer.
FIXED = {
    "order": ORDERS,
    "qk_scale": None,
    "attn_drop": 0.0,
    "proj_drop": 0.0,
    "layer_scale": None,
    "pre_norm": True,
    "enable_rpe": False,
    "enc_mode": True,
}
# How the published code computes, not what.
IMPLEMENTATION = ("enable_flash", "upcast_attention", "upcast_softmax", "traceable")
FIELDS = {
    "in_channels": "in_channels",
    "enc_depths": "depths",
    "enc_channels": "channels",
    "enc_num_head": "heads",
    "enc_patch_size": "patch_size",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "drop_path": "drop_path",
    "shuffle_orders": "shuffle_orders",
    "mask_token": "mask_token",
}
# All published encoders have heads of 16 channels and patches of 1024 points, and were trained and
# fine-tuned with this drop path, by the configurations published with their code.
HEAD_WIDTH = 16
PATCH_SIZE = 1024
DROP_PATH = 0.3
# Where a whole training state keeps the encoder that is meant.
STUDENT_PREFIX = "student.backbone."
PREPROCESSING_FIELDS = ("grid_size", "coord_scale", "center", "license", "base_model")
# What the published layout has no place for, kept there under a key of our own.
OWN_FIELDS = (*PREPROCESSING_FIELDS, "default_stages", "untrained")


@dataclass(frozen=True)
class Checkpoint:
    """A model in memory. tensors: by our names, in the dtype of the file."""

    config: ConcertoConfig
    tensors: dict[str, Tensor]


def read_checkpoint(
    weights: Path, config_file: Path | None = None, preprocessing: ConcertoConfig | None = None
) -> Checkpoint:
    """Read an encoder from a file of weights, in whichever layout it is.

    weights: `.safetensors`, or a pickle (`.pth`, `.pt`, …). config_file: the config.json that goes
    with it. preprocessing: where the file says nothing of preprocessing, licence and source, as
    published ones do not, these fields are taken from here.

    Raises CheckpointError where the file is damaged, unsafe, or holds no encoder, and ConfigError
    where its config asks for what no published encoder has.
    """
    content = read_weights(weights)
    values = content.config if config_file is None else read_json(config_file)
    try:
        return _checkpoint(weights, content, values, preprocessing)
    except ConfigError as error:
        raise ConfigError(f"{config_file or weights}: {error}") from error


def needs_config(pickle: Path) -> bool:
    """Whether a pickle holds tensors by our names and no config, as a saved state dict does."""
    try:
        content = read_weights(pickle)
    except CheckpointError:
        return False  # said by whoever reads it
    return content.config is None and any(name.endswith(_ANCHOR[1]) for name in content.tensors)


def check_tensors(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> None:
    """Raise CheckpointError where names or shapes are not those of the model."""
    told = misfit(tensors, wanted)
    if told:
        raise CheckpointError(f"{file} does not fit its config. It {told}.")


def misfit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """How names, shapes or kinds differ from those of the model; an empty text where none does."""
    problems = []
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    shapes = [
        f"{name} is {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    kinds = [
        f"{name} is {tensors[name].dtype}"
        for name in wanted
        if name in tensors and not tensors[name].is_floating_point()
    ]
    for what, names in (
        ("lacks", missing),
        ("has no place for", extra),
        ("mis-shapes", shapes),
        ("holds no real numbers in", kinds),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            problems.append(f"{what} {len(names)} tensors: {', '.join(names[:5])}{more}")
    return "; it ".join(problems)


def write_encoder(folder: Path, config: ConcertoConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write an encoder's config.json and model.safetensors, each whole or not at all."""
    write_model(folder, MODEL_TYPE, config.to_dict(), tensors)


def write_model(
    folder: Path, model_type: str, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write config.json, of model_type and these fields, and model.safetensors, each whole or not
    at all."""
    from safetensors.torch import save_file

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(folder / WEIGHTS_FILE) as path:
        save_file(own, path, metadata={"format": "pt"})
    write_json(folder / CONFIG_FILE, {"model_type": model_type, **fields})


def write_published(file: Path, config: ConcertoConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write the published layout, {"config", "state_dict"}, and what it has no place for beside."""
    names = {ours: published for published, ours in tensor_names(config)}
    state = {names[name]: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(file) as path:
        own = {name: getattr(config, name) for name in OWN_FIELDS}
        published = config_to_published(config)
        torch.save({"config": published, "state_dict": state, OWN_FIELDS_KEY: own}, path)


def tensor_names(config: ConcertoConfig) -> Iterator[Names]:
    """The published name and ours of every tensor of an encoder."""
    modules = list(EMBEDDING_NAMES)
    for stage, depth in enumerate(config.depths):
        modules += _stage_names(STAGE_NAMES, stage, DOWN_NAMES if stage else (), depth)
    if config.mask_token:
        yield MASK_TOKEN_NAMES
    yield from _parameter_names(modules, config.qkv_bias)


def head_tensor_names(depths: Sequence[int], qkv_bias: bool) -> Iterator[Names]:
    """The published name and ours of every tensor of a head. depths: blocks of each stage of its
    decoder, none for a linear head."""
    modules = [HEAD_NAMES]
    for stage, depth in enumerate(depths):
        modules += _stage_names(DECODER_NAMES, stage, UP_NAMES, depth)
    return _parameter_names(modules, qkv_bias)


def config_from_published(values: Mapping[str, Any]) -> ConcertoConfig:
    """Our architecture fields of a published config. Raises ConfigError for what none has."""
    unknown = set(values) - set(FIXED) - set(FIELDS) - {*IMPLEMENTATION, "stride", "freeze_encoder"}
    if unknown:
        raise ConfigError(
            "The config has keys that no published encoder uses: "
            f"{', '.join(sorted(map(str, unknown)))}."
        )
    lacking = {"enc_depths", "enc_channels", "enc_num_head", "enc_patch_size"} - set(values)
    if lacking:
        raise ConfigError(f"The config lacks {', '.join(sorted(lacking))}.")
    for key, only in FIXED.items():
        given = values.get(key, only)
        if (tuple(given) if isinstance(given, list) else given) != only:
            raise ConfigError(
                f"The config has {key}={given!r}; every published encoder has {only!r}."
            )
    for key in ("enc_depths", "enc_channels", "enc_num_head", "enc_patch_size"):
        if not isinstance(values[key], (list, tuple)):
            raise ConfigError(f"The config has {key}={values[key]!r}; it must have one a stage.")
    stride = values.get("stride", ())
    if not isinstance(stride, (list, tuple)) or any(step != 2 for step in stride):
        raise ConfigError(f"The config has stride={stride!r}; published ones are all 2.")
    fields = {ours: values[theirs] for theirs, ours in FIELDS.items() if theirs in values}
    stages = tuple(s for s in ConcertoConfig.default_stages if s < len(values["enc_depths"]))
    return ConcertoConfig(**fields, default_stages=stages or (0,))


def config_to_published(config: ConcertoConfig) -> dict[str, Any]:
    """The inverse of `config_from_published`, complete as the published code wants it."""
    return {
        **{theirs: getattr(config, ours) for theirs, ours in FIELDS.items()},
        **FIXED,
        "stride": (2,) * (config.stages - 1),
        "enable_flash": True,
        "upcast_attention": False,
        "upcast_softmax": False,
        "traceable": True,
        "freeze_encoder": False,
    }


def _stage_names(names: Names, stage: int, before: Sequence[Names], depth: int) -> Iterator[Names]:
    """Both names of the modules of a stage: what comes before its blocks, and `depth` blocks."""
    published, ours = (name.format(stage=stage) for name in names)
    yield from ((f"{published}.{p}", f"{ours}.{o}") for p, o in before)
    for block in range(depth):
        theirs, own = (name.format(block=block) for name in BLOCK_NAMES)
        yield from ((f"{published}.{theirs}.{p}", f"{ours}.{own}.{o}") for p, o in LAYER_NAMES)


def _parameter_names(modules: Sequence[Names], qkv_bias: bool) -> Iterator[Names]:
    """Both names of the tensors of modules. qkv_bias: whether queries, keys and values have one."""
    for theirs, own in modules:
        yield f"{theirs}.weight", f"{own}.weight"
        if qkv_bias or not own.endswith("qkv"):
            yield f"{theirs}.bias", f"{own}.bias"


def _checkpoint(
    weights: Path,
    content: Content,
    values: dict[str, Any] | None,
    preprocessing: ConcertoConfig | None,
) -> Checkpoint:
    tensors = content.tensors
    # A list, as what a file says need not be hashable.
    if _ANCHOR[1] in tensors or (values or {}).get("model_type") in list(LOADERS):
        if values is None:
            raise CheckpointError(f"{weights} has no {CONFIG_FILE} beside it, and needs one.")
        return Checkpoint(_own_config(values, weights), tensors)
    tensors = _published_encoder(tensors, weights)
    config = (
        _config_from_shapes(tensors, weights) if values is None else config_from_published(values)
    )
    if preprocessing is not None:
        config = config.replace(
            **{name: getattr(preprocessing, name) for name in PREPROCESSING_FIELDS}
        )
    # After that, as a file of ours may bear the name of a published one.
    if content.own_fields is not None:
        config = ConcertoConfig.from_dict(config.to_dict() | content.own_fields)
    names = dict(tensor_names(config))
    return Checkpoint(config, {names.get(name, name): t for name, t in tensors.items()})


def read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON: {error}.") from error
    except RecursionError as error:
        raise CheckpointError(
            f"{file} nests values too deeply to be a config. It may be damaged; fetch it again."
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} holds {type(values).__name__}, not a config.")
    return values


def _own_config(values: dict[str, Any], file: Path) -> ConcertoConfig:
    kind = values.get("model_type")
    if kind != MODEL_TYPE:
        loader = LOADERS.get(kind) if isinstance(kind, str) else None
        hint = "" if loader is None else f" Load it with {loader}."
        raise CheckpointError(
            f'{file} says model_type={kind!r}; an encoder of this library says "{MODEL_TYPE}".'
            f"{hint}"
        )
    return ConcertoConfig.from_dict({k: v for k, v in values.items() if k != "model_type"})


def _published_encoder(tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The encoder's tensors by their published names, without a training state's prefix."""
    anchor = _ANCHOR[0]
    prefixes = [name.removesuffix(anchor) for name in tensors if name.endswith(anchor)]
    if not prefixes:
        if any(name.startswith("seg_head.") for name in tensors):
            raise CheckpointError(
                f"{file} holds a segmentation head without its encoder: pass encoder=, the one "
                "that it was trained on, to from_pretrained; or load that encoder."
            )
        raise CheckpointError(f"{file} holds no encoder: it has no tensor {anchor}.")
    students = [prefix for prefix in prefixes if prefix.endswith(STUDENT_PREFIX)]
    if len(students or prefixes) > 1:
        raise CheckpointError(f"{file} holds several encoders, under {', '.join(prefixes)}.")
    prefix = (students or prefixes)[0]
    # The file is only mapped so far. A copy of what is wanted outlives changes to the file.
    return {k.removeprefix(prefix): v.clone() for k, v in tensors.items() if k.startswith(prefix)}


def _config_from_shapes(tensors: dict[str, Tensor], file: Path) -> ConcertoConfig:
    """The architecture of a file without a config, from the shapes of its (published) tensors, and
    what they do not tell from what all published encoders have."""
    if tensors[_ANCHOR[0]].ndim != 2 or "enc.enc0.block0.norm1.0.weight" not in tensors:
        raise CheckpointError(f"{file} holds no whole encoder: stage 0 is missing.")
    depths: list[int] = []
    while f"enc.enc{len(depths)}.block0.norm1.0.weight" in tensors:
        block = re.compile(rf"enc\.enc{len(depths)}\.block(\d+)\.norm1\.0\.weight")
        depths.append(sum(block.fullmatch(name) is not None for name in tensors))
    channels = [len(tensors[f"enc.enc{s}.block0.norm1.0.weight"]) for s in range(len(depths))]
    if any(c % HEAD_WIDTH for c in channels):
        raise CheckpointError(
            f"{file} has no config, and its stages of {channels} channels do not divide into heads "
            f"of {HEAD_WIDTH}, as all published ones do. Convert it with its config."
        )
    hidden = tensors.get("enc.enc0.block0.mlp.0.fc1.bias")
    return config_from_published(
        {
            "in_channels": tensors[_ANCHOR[0]].shape[-1],
            "enc_depths": depths,
            "enc_channels": channels,
            "enc_num_head": [c // HEAD_WIDTH for c in channels],
            "enc_patch_size": [PATCH_SIZE] * len(depths),
            "mlp_ratio": 4 if hidden is None else len(hidden) / channels[0],
            "qkv_bias": "enc.enc0.block0.attn.qkv.bias" in tensors,
            "drop_path": DROP_PATH,
            "mask_token": MASK_TOKEN_NAMES[0] in tensors,
        }
    )
