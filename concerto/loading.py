"""`concerto.from_pretrained`: any source of weights, as the class that its config names."""

from __future__ import annotations

import os
from typing import Any, Literal, overload

import torch

from concerto import hub
from concerto.devices import kept_dtype, usable_device
from concerto.encoder import Backend
from concerto.model import Concerto
from concerto.segmenter import Segmenter
from concerto.segmenter.storing import holds_segmenter
from concerto.translator import Translator
from concerto.translator.storing import holds_translator

EncoderName = Literal[
    "concerto-tiny",
    "concerto-small",
    "concerto-base",
    "concerto-base-origin",
    "concerto-large",
    "concerto-large-outdoor",
    "concerto-base-siglip",
    "concerto-large-video",
    "sonata",
    "sonata-small",
]


@overload
def from_pretrained(
    pretrained_model_name_or_path: EncoderName = "concerto-tiny", **options: Any
) -> Concerto: ...


@overload
def from_pretrained(
    pretrained_model_name_or_path: Literal["concerto-large-scannet", "sonata-scannet"],
    **options: Any,
) -> Segmenter: ...


@overload
def from_pretrained(
    pretrained_model_name_or_path: Literal["concerto-tiny-words", "concerto-large-clip"],
    **options: Any,
) -> Translator: ...


@overload
def from_pretrained(
    pretrained_model_name_or_path: str | os.PathLike[str], **options: Any
) -> Any: ...


def from_pretrained(
    pretrained_model_name_or_path: str | os.PathLike[str] = "concerto-tiny",
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    backend: Backend = "torch",
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    **options: Any,
) -> Concerto | Segmenter | Translator:
    """Load pretrained weights: a `Concerto`, or a `Segmenter` or `Translator` where the files are
    one's.

    See the `from_pretrained` of these for options and errors.
    """
    # What is wrong with these is said before anything is fetched.
    place, kept = usable_device(device), kept_dtype(dtype)
    source = hub.locate(
        pretrained_model_name_or_path,
        revision=options.pop("revision", None),
        filename=options.pop("filename", None),
        reach=hub.Reach(token, cache_dir, local_files_only),
    )
    if holds_translator(source):
        return Translator._from_source(source, place, kept, backend, **options)
    if holds_segmenter(source) or "encoder" in options:
        return Segmenter._from_source(source, place, kept, backend, **options)
    return Concerto._from_source(source, place, kept, backend, **options)
