"""What a translator is: whose features it reads, and which texts they are carried to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from concerto.config import ConcertoConfig
from concerto.errors import ConfigError
from concerto.fields import (
    check_booleans,
    check_integer,
    check_keys,
    check_object,
    check_text,
    check_texts,
)
from concerto.hierarchy import resolve_stages


@dataclass(frozen=True)
class TranslatorConfig:
    """An encoder, the stages that are read off it, and a text tower."""

    encoder: ConcertoConfig
    """Of the encoder that the map was trained on."""
    text_tower: str
    """As `load_tower` takes it: "ViT-L-14/openai", "org/name", "minilm"."""
    width: int
    """Dimensions of the joint space, D."""
    stages: tuple[int, ...] | None = None
    """Stages whose features the map takes, fine to coarse; by default the encoder's own choice."""
    encoder_source: str | None = None
    """Where the encoder's weights come from: a name, "org/name@revision", a folder or file."""
    encoder_inside: bool = True
    """Whether the translator's file holds the encoder; else it is fetched from its source."""
    encoder_digest: str | None = None
    """SHA-256 over the encoder's weights; set by saving, where the encoder is not inside."""
    names: tuple[str, ...] = ()
    """What labels taught the map, where they did: the names of classes."""
    name_templates: tuple[str, ...] = ("{}",)
    """The sentences that it was taught the names in."""

    def __post_init__(self) -> None:
        """Raises ConfigError where the parts do not fit together."""
        if not isinstance(self.encoder, ConcertoConfig):
            raise ConfigError(
                f"encoder is {type(self.encoder).__name__}; it must be a ConcertoConfig."
            )
        check_integer(self, "width", least=1)
        check_booleans(self, "encoder_inside")
        check_text(self, "encoder_source", "encoder_digest", optional=True)
        if not isinstance(self.text_tower, str) or not self.text_tower:
            raise ConfigError(f"text_tower is {self.text_tower!r}; it must name a text tower.")
        if not self.encoder_inside and self.encoder_source is None:
            raise ConfigError(
                "A translator without its encoder inside needs encoder_source, to say where that "
                "comes from."
            )
        check_texts(self, "names", "name_templates")
        if not all(name.strip() for name in self.names):
            raise ConfigError(f"names is {self.names!r}; a name cannot be empty.")
        if not self.name_templates or any(t.count("{}") != 1 for t in self.name_templates):
            raise ConfigError(
                f"name_templates is {self.name_templates!r}; it must be sentences with one {{}} "
                "each, where the name goes."
            )
        stages = self.encoder.default_stages if self.stages is None else self.stages
        object.__setattr__(self, "stages", resolve_stages(stages, self.encoder.stages))

    @property
    def chosen(self) -> tuple[int, ...]:
        """The stages, whatever was said of them."""
        assert self.stages is not None
        return self.stages

    @property
    def features(self) -> int:
        """Channels that the map takes."""
        return sum(self.encoder.channels[stage] for stage in self.chosen)

    def replace(self, **changes: Any) -> TranslatorConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields, as config.json holds them."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> TranslatorConfig:
        """The inverse of `to_dict`. Raises ConfigError for a key that is missing or unknown."""
        known = {field.name for field in dataclasses.fields(TranslatorConfig)}
        check_keys("The config of a translator", values, known, {"encoder", "text_tower", "width"})
        check_object("encoder", values["encoder"])
        return TranslatorConfig(
            **{**values, "encoder": ConcertoConfig.from_dict(values["encoder"])}
        )
