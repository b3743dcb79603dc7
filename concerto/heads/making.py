"""A head's configuration → the head."""

from __future__ import annotations

from concerto.config import ConcertoConfig
from concerto.errors import ConfigError
from concerto.heads.configs import DecoderConfig, HeadConfig, LinearConfig
from concerto.heads.decoder import DecoderHead
from concerto.heads.knn import KnnHead
from concerto.heads.linear import LinearHead

Head = LinearHead | DecoderHead | KnnHead


def make_head(config: HeadConfig, encoder: ConcertoConfig, classes: int) -> Head:
    """A head with new weights over an encoder.

    Raises ConfigError where it reads stages that the encoder does not have.
    """
    if isinstance(config, DecoderConfig):
        return DecoderHead(config, encoder, classes)
    if not config.stages or not all(0 <= stage < encoder.stages for stage in config.stages):
        raise ConfigError(
            f"The head reads stages {config.stages}; the encoder has 0 to {encoder.stages - 1}."
        )
    if isinstance(config, LinearConfig):
        return LinearHead(config, encoder.channels, classes)
    return KnnHead(config, sum(encoder.channels[stage] for stage in config.stages), classes)
