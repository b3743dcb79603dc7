"""A head that was saved without its encoder: which one that was, and how they come together.

Over another encoder such a head would give classes all the same, and wrong ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concerto.errors import CheckpointError
from concerto.fields import check_keys, check_numbers, check_object, check_text

LORA = "lora."
# Values of each tensor that go into a fingerprint.
PRINTED = 64
# Hexadecimal digits of each of its digests.
DIGITS = 16


@dataclass(frozen=True)
class Over:
    """The encoder that a head was trained on. source: what `from_pretrained` is given for it.
    fingerprint: of its weights. lora_scale: alpha / rank of the adapters, None without any."""

    source: str
    fingerprint: str | None
    lora_scale: float | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError where a field is of another kind."""
        check_text(self, "source")
        check_text(self, "fingerprint", optional=True)
        if self.lora_scale is not None:
            check_numbers(self, "lora_scale")

    @staticmethod
    def from_dict(values: Any) -> Over:
        """The fields, as config.json holds them. Raises ConfigError for others."""
        check_object("over", values)
        check_keys("over", values, {field.name for field in fields(Over)}, {"source"})
        return Over(**{"fingerprint": None, **values})


def join_encoder(
    saved: Mapping[str, Tensor], over: Over, encoder: Mapping[str, Tensor], place: Path
) -> dict[str, Tensor]:
    """All tensors of a segmenter whose head was saved alone, adapters merged.

    saved: head.* and lora.*. encoder: by the names of its own file. place: for messages.

    Raises CheckpointError where the head was trained on another encoder.
    """
    if over.fingerprint is not None and not same_prints(over.fingerprint, fingerprint(encoder)):
        raise CheckpointError(
            f"{place} is a head for another encoder: {over.source} does not hold the weights that "
            "it was trained on. Where they lie elsewhere, pass encoder=."
        )
    adapters = {name: t for name, t in saved.items() if name.startswith(LORA)}
    head = {name: t for name, t in saved.items() if name not in adapters}
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
