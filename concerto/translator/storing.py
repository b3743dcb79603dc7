"""Translators in files: config.json and model.safetensors, as encoders, with or without theirs.

The file holds the map as "map.*", and the encoder's tensors under "encoder." by the names of an
encoder's own file. Without these, the config says where the encoder comes from and what its weights
were: a map means nothing to features of another encoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from concerto import hub
from concerto.checkpoints import (
    TRANSLATOR_TYPE,
    check_tensors,
    read_checkpoint,
    read_json,
    write_model,
)
from concerto.errors import CheckpointError, ConfigError, InputError
from concerto.model import Concerto
from concerto.translator.config import TranslatorConfig
from concerto.weight_files import read_weights

ENCODER = "encoder."
HALVES = (torch.bfloat16, torch.float16)


def read_translator(source: hub.Source) -> tuple[TranslatorConfig, dict[str, Tensor]]:
    """The config and all tensors, the encoder's fetched where the file has none.

    Raises CheckpointError where the files hold no translator or do not fit, HubError where the
    encoder cannot be had.
    """
    config = _read_config(source)
    tensors = dict(read_weights(source.weights).tensors)
    if not config.encoder_inside:
        tensors |= {ENCODER + k: v for k, v in _fetch_encoder(source, config).items()}
    with torch.device("meta"):
        wanted = {ENCODER + k: v for k, v in Concerto(config.encoder).state_dict().items()}
        wanted["map.weight"] = torch.empty(config.width, config.features)
        wanted["map.bias"] = torch.empty(config.width)
    check_tensors(tensors, wanted, source.weights)
    return config, tensors


def holds_translator(source: hub.Source) -> bool:
    """Whether the files are a translator's, by their config alone."""
    return source.config is not None and (
        read_json(source.config).get("model_type") == TRANSLATOR_TYPE
    )


def write_translator(folder: Path, config: TranslatorConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write config.json and model.safetensors, each whole or not at all."""
    digest = None
    if not config.encoder_inside:
        encoder = {k[len(ENCODER) :]: v for k, v in tensors.items() if k.startswith(ENCODER)}
        digest = weights_digest(encoder)
        tensors = {k: v for k, v in tensors.items() if not k.startswith(ENCODER)}
    fields = config.replace(encoder_digest=digest).to_dict()
    write_model(folder, TRANSLATOR_TYPE, fields, tensors)


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 in hex over names, shapes and values, whatever kind of file they come from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().float().contiguous()
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()


def _read_config(source: hub.Source) -> TranslatorConfig:
    values = read_json(source.config) if source.config is not None else {}
    kind = values.pop("model_type", None)
    if kind != TRANSLATOR_TYPE:
        what = "an encoder, which concerto.from_pretrained loads" if kind else "no translator"
        raise CheckpointError(
            f"{source.config or source.weights} is of {what}. Translators are trained with "
            "`python -m concerto.training.translate`."
        )
    try:
        return TranslatorConfig.from_dict(values)
    except (ConfigError, InputError) as error:
        raise ConfigError(f"{source.config}: {error}") from error


def _fetch_encoder(source: hub.Source, config: TranslatorConfig) -> dict[str, Tensor]:
    """The encoder's tensors from where the config says, as they were."""
    assert config.encoder_source is not None  # or the config would not be one
    found = hub.locate(config.encoder_source, reach=source.reach)
    known = found.model.config if found.model else None
    tensors = read_checkpoint(found.weights, found.config, known).tensors
    # The translator may have been cast before it was saved, and its digest is of what it had then.
    rounded = ({k: v.to(dtype) for k, v in tensors.items()} for dtype in HALVES)
    if not any(weights_digest(at) == config.encoder_digest for at in chain([tensors], rounded)):
        raise CheckpointError(
            f"{config.encoder_source} is no longer the encoder that {source.weights} was trained "
            "on: its weights differ. Name the revision, or train the map again."
        )
    return tensors
