"""What a segmenter is, apart from its weights: an encoder, a head, and names of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from concerto.config import ConcertoConfig
from concerto.errors import ConfigError
from concerto.fields import check_keys, check_object, check_texts
from concerto.heads import DecoderConfig, HeadConfig, KnnConfig, LinearConfig
from concerto.palette import distinct_colors

HEAD_TYPES: dict[str, type[LinearConfig] | type[DecoderConfig] | type[KnnConfig]] = {
    "linear": LinearConfig,
    "decoder": DecoderConfig,
    "knn": KnnConfig,
}


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
