"""What a head is, apart from its weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearConfig:
    """One linear map."""

    stages: tuple[int, ...] = (0, 1, 2, 3, 4)
    """The stages it reads, concatenated fine to coarse; published ones read all."""


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


HeadConfig = LinearConfig | DecoderConfig | KnnConfig
