"""The encoder alone: tensors in, tensors out."""

from concerto.encoder.point_transformer import (
    Backend,
    Block,
    EncodedLevel,
    PointTransformer,
    check_backend,
)

__all__ = ["Backend", "Block", "EncodedLevel", "PointTransformer", "check_backend"]
