"""Translators in files: config.json and model.safetensors, as encoders, with or without theirs.

The file holds the map as "map.*", and the encoder's tensors under "encoder." by the names of an
encoder's own file. Without these, the config says where the encoder comes from and what its weights
were: a map means nothing to features of another encoder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concerto import hub
from concerto.checkpoints import (
    CARD_FILE,
    CONFIG_FILE,
    TRANSLATOR_TYPE,
    WEIGHTS_FILE,
    check_tensors,
    read_checkpoint,
    read_config,
)
from concerto.errors import CheckpointError, ConfigError, InputError
from concerto.files import replacing
from concerto.model import Concerto
from concerto.translator.card import translator_card
from concerto.translator.config import TranslatorConfig
from concerto.weight_files import read_weights

ENCODER = "encoder."


def read_translator(
    source: hub.Source, reach: Mapping[str, Any]
) -> tuple[TranslatorConfig, dict[str, Tensor]]:
    """The config and all tensors, the encoder's fetched where the file has none.

    reach: options of `hub.locate` for that.

    Raises CheckpointError where the files hold no translator or do not fit, HubError where the
    encoder cannot be had.
    """
    config = _read_config(source)
    tensors = dict(read_weights(source.weights).tensors)
    if not any(name.startswith(ENCODER) for name in tensors):
        tensors |= {ENCODER + k: v for k, v in _fetch_encoder(source, config, reach).items()}
    with torch.device("meta"):
        wanted = {ENCODER + k: v for k, v in Concerto(config.encoder).state_dict().items()}
        wanted["map.weight"] = torch.empty(config.width, config.features)
        wanted["map.bias"] = torch.empty(config.width)
    check_tensors(tensors, wanted, source.weights)
    return config, tensors


def write_translator(
    folder: Path,
    config: TranslatorConfig,
    tensors: Mapping[str, Tensor],
    with_encoder: bool = True,
    repo_id: str | None = None,
    how: str | None = None,
) -> list[str]:
    """Write the files, each whole or not at all; returns their names.

    A card that is there is kept, but replaced where there is news: how, what the card says of its
    training. repo_id: of the repo that the files are for.

    Raises InputError where the encoder is left out and cannot be found again.
    """
    from safetensors.torch import save_file

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if with_encoder:
        config = config.replace(encoder_digest=None)
    else:
        _check_reference(config, shared=repo_id is not None)
        encoder = {k[len(ENCODER) :]: v for k, v in own.items() if k.startswith(ENCODER)}
        config = config.replace(encoder_digest=weights_digest(encoder))
        own = {k: v for k, v in own.items() if not k.startswith(ENCODER)}
    with replacing(folder / WEIGHTS_FILE) as path:
        save_file(own, path, metadata={"format": "pt"})
    with replacing(folder / CONFIG_FILE) as path:
        values = {"model_type": TRANSLATOR_TYPE, **config.to_dict()}
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    card = folder / CARD_FILE
    if how is not None or not card.exists():
        with replacing(card) as path:
            path.write_text(translator_card(config, repo_id, how), encoding="utf-8")
    return [WEIGHTS_FILE, CONFIG_FILE, CARD_FILE]


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 in hex over names, shapes and values, whatever kind of file they come from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().float().contiguous()
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()


def _read_config(source: hub.Source) -> TranslatorConfig:
    values = read_config(source.config) if source.config is not None else {}
    kind = values.pop("model_type", None)
    if kind != TRANSLATOR_TYPE:
        what = "an encoder, which concerto.from_pretrained loads" if kind else "no translator"
        raise CheckpointError(
            f"{source.config or source.weights} is of {what}. Translators are trained with "
            "`python -m concerto.training.translate`."
        )
    try:
        return TranslatorConfig.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{source.config}: {error}") from error


def _fetch_encoder(
    source: hub.Source, config: TranslatorConfig, reach: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The encoder's tensors from where the config says, as they were."""
    if config.encoder_source is None or config.encoder_digest is None:
        raise CheckpointError(
            f"{source.weights} holds no encoder, and its config does not say which it needs."
        )
    found = hub.locate(config.encoder_source, **reach)
    known = found.model.config if found.model else None
    tensors = read_checkpoint(found.weights, found.config, known).tensors
    if weights_digest(tensors) != config.encoder_digest:
        raise CheckpointError(
            f"{config.encoder_source} is no longer the encoder that {source.weights} was trained "
            "on: its weights differ. Name the revision, or train the map again."
        )
    return tensors


def _check_reference(config: TranslatorConfig, shared: bool) -> None:
    if config.encoder_source is None:
        raise InputError(
            "Without its encoder a translator needs the config's encoder_source to say where that "
            "comes from. Save it with_encoder=True."
        )
    if shared and Path(config.encoder_source).exists():
        raise InputError(
            f"The encoder comes from {config.encoder_source}, which nobody else can reach. Push "
            "it with_encoder=True."
        )
