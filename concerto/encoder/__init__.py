"""The encoder alone: tensors in, tensors out."""

from concerto.encoder.point_transformer import Backend, EncodedLevel, PointTransformer

__all__ = ["Backend", "EncodedLevel", "PointTransformer"]
