"""What a head is, apart from its weights."""

from __future__ import annotations

from dataclasses import dataclass

from concerto.errors import ConfigError
from concerto.fields import check_integer, check_integers, check_numbers


@dataclass(frozen=True)
class LinearConfig:
    """One linear map."""

    stages: tuple[int, ...] = (0, 1, 2, 3, 4)
    """The stages it reads, concatenated fine to coarse; published ones read all."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a stage is none, or named twice."""
        _check_stages(self)


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder of Point Transformer V3; one entry a stage but the coarsest, fine to coarse.

    The defaults are the published ones, for encoders of five stages.
    """

    depths: tuple[int, ...] = (2, 2, 2, 2)
    """Blocks of each stage."""
    channels: tuple[int, ...] = (64, 96, 192, 384)
    """Width of each stage."""
    heads: tuple[int, ...] = (4, 6, 12, 24)
    """Attention heads of each stage."""

    def __post_init__(self) -> None:
        """Raises ConfigError where these are no counts."""
        check_integers(self, "depths", least=0)
        check_integers(self, "channels", "heads", least=1)


@dataclass(frozen=True)
class KnnConfig:
    """A vote of the nearest labelled features."""

    rows: int
    """Labelled features that are kept."""
    stages: tuple[int, ...] = (2, 3, 4)
    """The stages that are compared, by cosine."""
    neighbors: int = 20
    """How many vote."""
    temperature: float = 0.07
    """A vote weighs exp(cosine / temperature), as in DINO (arXiv 2104.14294)."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a stage is none, or named twice, and for what is no count."""
        _check_stages(self)
        check_integer(self, "rows", least=0)
        check_integer(self, "neighbors", least=1)
        check_numbers(self, "temperature")
        if not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature!r}; it must be positive.")


HeadConfig = LinearConfig | DecoderConfig | KnnConfig


def _check_stages(config: LinearConfig | KnnConfig) -> None:
    check_integers(config, "stages", least=0)
    if len(set(config.stages)) < len(config.stages):
        raise ConfigError(f"stages is {config.stages}; name each stage that is read once.")
