"""Texts → unit vectors: what is asked, in which sentences, each encoded once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.errors import ConcertoWarning, ConfigError, InputError
from concerto.translator.config import TranslatorConfig
from concerto.translator.same_vectors import same_vectors
from concerto.translator.towers import TextTower, load_tower

# Sentences to put the name of a thing in, for CLIP, which was trained on captions. The second is
# OpenScene's (arXiv 2211.15654), the others are among those that CLIP was published with.
SCENE_TEMPLATES = ("a photo of a {}.", "a {} in a scene", "a photo of the {}.", "there is a {}.")
# Texts that go through the tower together, which bounds its memory.
TEXTS_AT_ONCE = 256
# Vectors kept: 100 MB of CLIP's widest.
MOST_KEPT = 2**14
# A tokenizer is told how to cut and pad before each use, so no two threads may use one at a time.
_guard = Lock()


def as_texts(texts: str | Sequence[str]) -> list[str]:
    """What was asked, in order; a single text is one.

    Raises InputError for none, and for texts that are empty or no valid Unicode.
    """
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise InputError(
            f"The texts are a {type(texts).__name__}; pass a string or a list of strings, such as "
            '["a chair", "a table"].'
        )
    asked = [texts] if isinstance(texts, str) else list(texts)
    if not asked:
        raise InputError('There are no texts: ask for at least one, such as ["a chair"].')
    for place, text in enumerate(asked):
        if not isinstance(text, str):
            raise InputError(
                f"Text {place} is a {type(text).__name__}; texts are strings, such as "
                '["a chair", "a table"].'
            )
        if not text.strip():
            raise InputError(f"Text {place} of {len(asked)} is empty.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"Text {place} is {text!r}, which is no valid Unicode.") from error
    return asked


def number_texts(classes: Sequence[str], background: str | Sequence[str] | None) -> dict[str, int]:
    """The texts that points are told apart by, each with the place of its class; background is -1.

    A text given twice is one thing: it must not vie with itself, and is where it came first.

    Raises InputError where classes is a single text, which may be meant as a list, or where there
    is only one text to be nearest to.
    """
    names = as_texts(classes)
    if isinstance(classes, str):
        meant = [name.strip() for name in classes.split(",")]
        raise InputError(f"classes is the text {classes!r}; pass a list of texts, such as {meant}.")
    nothing = background is None or (isinstance(background, (list, tuple)) and not background)
    others = [] if nothing else as_texts(cast(Sequence[str], background))
    numbers: dict[str, int] = {}
    for place, text in enumerate([*names, *others]):
        numbers.setdefault(text, place if place < len(names) else -1)
    if len(numbers) < 2:
        raise InputError(
            f"Everything would be {names[0]!r}, the only class. Name in classes what else there "
            "is, pass background= with other texts for the rest, or call find, which looks for one "
            "text."
        )
    return numbers


def check_templates(templates: Sequence[str] | None) -> tuple[str, ...]:
    """The sentences, {} standing for the text. Raises InputError where one has no such place."""
    if templates is None:
        return ("{}",)
    several = not isinstance(templates, str) and isinstance(templates, Iterable)
    chosen: tuple[str, ...] = tuple(templates) if several else (cast(str, templates),)
    if not chosen or not all(isinstance(t, str) and t.count("{}") == 1 for t in chosen):
        raise InputError(
            f"templates is {templates!r}; pass sentences with one {{}} each, where the text goes, "
            'such as ["a photo of a {}."].'
        )
    return chosen


class TextFeatures:
    """A text tower, loaded when it is first asked, and the vectors that it has given.

    No module: neither the tower nor the vectors are part of a state dict. tower: instead of
    loading the one that the config names.
    """

    def __init__(self, config: TranslatorConfig, tower: TextTower | None = None) -> None:
        self.name, self.width = config.text_tower, config.width
        self._tower = None if tower is None else self._fitting(tower)
        self._kept: dict[str, Tensor] = {}
        self._compared: frozenset[str] = frozenset()

    @property
    def tower(self) -> TextTower:
        """Raises the errors of `load_tower`, and ConfigError where its width is not the map's."""
        if self._tower is None:
            self._tower = self._fitting(load_tower(self.name))
        return self._tower

    def __call__(
        self,
        texts: str | Sequence[str],
        templates: Sequence[str] | None = None,
        device: torch.device | str = "cpu",
        meanings: Sequence[int] | None = None,
    ) -> Tensor:
        """Unit vectors (T, D) float32 of texts, each the mean over templates of unit vectors.

        meanings: a number for each text, the same where several stand for one thing; by default
        each text stands for its own.

        Warns of texts that are new to it and that the tower cuts short or has no tokens for, and of
        those, asked together for the first time, that it cannot tell apart.
        """
        asked, sentences = as_texts(texts), check_templates(templates)
        prompts = [sentence.replace("{}", text) for text in asked for sentence in sentences]
        place = torch.device(device)
        # Vectors are kept, so who asks under autocast must not round them for who asks later.
        with _guard, torch.autocast(place.type, enabled=False):
            new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._kept]
            vectors = self._encode(prompts, new, place)
        means = F.normalize(vectors.view(len(asked), len(sentences), -1).mean(1), dim=1)
        if len(set(meanings or asked)) > 1 and not self._compared.issuperset(asked):
            self._warn_of_same(asked, means, meanings)
            self._compared = frozenset(asked)
        return means

    def _encode(self, prompts: list[str], new: list[str], device: torch.device) -> Tensor:
        """Unit vectors (P, D), from what is kept and, of the new ones, from the tower."""
        found = {prompt: self._kept[prompt] for prompt in prompts if prompt in self._kept}
        if new:
            self._warn_of_cuts(new)
            self._warn_of_unknown(new)
        for start in range(0, len(new), TEXTS_AT_ONCE):
            part = new[start : start + TEXTS_AT_ONCE]
            vectors = F.normalize(self.tower.encode(part, device), dim=1).cpu()
            found.update(zip(part, vectors, strict=True))
        for prompt in new[-MOST_KEPT:]:
            # Its own memory, not a row of the batch's, which would then be kept whole.
            self._kept[prompt] = found[prompt].clone()
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return torch.stack([found[prompt] for prompt in prompts]).to(device)

    def _fitting(self, tower: TextTower) -> TextTower:
        if tower.width != self.width:
            raise ConfigError(
                f"The text tower {self.name} gives vectors of {tower.width} dimensions, and the "
                f"map leads to {self.width}: it was trained for another tower."
            )
        return tower

    def _warn_of_cuts(self, prompts: list[str]) -> None:
        cut = [p for p, long in zip(prompts, self.tower.too_long(prompts), strict=True) if long]
        if cut:
            more = f", and {len(cut) - 1} other sentences" if len(cut) > 1 else ""
            warnings.warn(
                f"{self.name} reads only the beginning of {cut[0][:60]!r}…{more}: longer than its "
                "context.",
                ConcertoWarning,
                stacklevel=5,
            )

    def _warn_of_unknown(self, prompts: list[str]) -> None:
        strange = [p for p, odd in zip(prompts, self.tower.unknown(prompts), strict=True) if odd]
        if strange:
            more = f", and in {len(strange) - 1} other sentences" if len(strange) > 1 else ""
            warnings.warn(
                f"{self.name} has no token for some of what is in {strange[0][:60]!r}{more}: it "
                "reads all such words as one. Ask in a language that it knows; most towers, "
                "minilm too, know English.",
                ConcertoWarning,
                stacklevel=5,
            )

    def _warn_of_same(
        self, texts: list[str], vectors: Tensor, meanings: Sequence[int] | None
    ) -> None:
        if meanings is None:
            number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
            meanings = [number[text] for text in texts]
        pairs = same_vectors(vectors, meanings)
        if pairs:
            one, other = (texts[place][:60] for place in pairs[0])
            more = f", as it does with {len(pairs) - 1} other texts" if len(pairs) > 1 else ""
            warnings.warn(
                f"{self.name} gives {other!r} the same vector as {one!r}{more}: nothing is nearer "
                "to one than to the other. Ask for one of them, or in words that it tells apart.",
                ConcertoWarning,
                stacklevel=4,
            )
