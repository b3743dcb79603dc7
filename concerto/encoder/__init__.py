"""The encoder alone: tensors in, tensors out."""

from concerto.encoder.point_transformer import Backend, Block, EncodedLevel, PointTransformer

__all__ = ["Backend", "Block", "EncodedLevel", "PointTransformer"]
