"""`concerto.from_pretrained`: any source of weights, as the class that its config names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

import torch

from concerto import hub
from concerto.devices import kept_dtype, usable_device
from concerto.encoder import Backend, check_backend
from concerto.errors import ConfigError
from concerto.model import Concerto
from concerto.segmenter import Segmenter
from concerto.segmenter.storing import holds_segmenter
from concerto.translator import Translator
from concerto.translator.storing import holds_translator

if TYPE_CHECKING:
    from typing_extensions import Unpack

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


class Options(TypedDict, total=False):
    """What each `from_pretrained` takes; encoder: `Segmenter`'s alone."""

    encoder: str | os.PathLike[str] | None
    revision: str | None
    filename: str | None
    device: torch.device | str | None
    dtype: torch.dtype | str | None
    backend: Backend
    token: str | bool | None
    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool


@overload
def from_pretrained(
    pretrained_model_name_or_path: EncoderName = "concerto-tiny", **options: Unpack[Options]
) -> Concerto: ...


@overload
def from_pretrained(
    pretrained_model_name_or_path: Literal["concerto-large-scannet", "sonata-scannet"],
    **options: Unpack[Options],
) -> Segmenter: ...


@overload
def from_pretrained(
    pretrained_model_name_or_path: Literal["concerto-tiny-words", "concerto-large-clip"],
    **options: Unpack[Options],
) -> Translator: ...


@overload
def from_pretrained(
    pretrained_model_name_or_path: str | os.PathLike[str], **options: Unpack[Options]
) -> Any: ...


def from_pretrained(
    pretrained_model_name_or_path: str | os.PathLike[str] = "concerto-tiny",
    *,
    encoder: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    filename: str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    backend: Backend = "torch",
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Concerto | Segmenter | Translator:
    """Load pretrained weights: a `Concerto`, or a `Segmenter` or `Translator` where the files are
    one's.

    See the `from_pretrained` of these for options and errors.
    """
    # What is wrong with these is said before anything is fetched.
    place, kept = usable_device(device), kept_dtype(dtype)
    check_backend(backend)
    source = hub.locate(
        pretrained_model_name_or_path,
        revision=revision,
        filename=filename,
        reach=hub.Reach(token, cache_dir, local_files_only),
    )
    if holds_translator(source):
        if encoder is not None:
            raise ConfigError(f"{source.weights} is a translator's: leave encoder= out.")
        return Translator._from_source(source, place, kept, backend)
    if holds_segmenter(source) or encoder is not None:
        return Segmenter._from_source(source, place, kept, backend, encoder)
    return Concerto._from_source(source, place, kept, backend)
