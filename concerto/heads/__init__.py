"""What turns a hierarchy into classes: a linear map, nearest neighbours, or a decoder.

Each head takes what `model.hierarchy(points)` gives, and returns logits (n, K) of its finest
voxels.
"""

from concerto.heads.configs import DecoderConfig, HeadConfig, KnnConfig, LinearConfig
from concerto.heads.decoder import DecoderHead
from concerto.heads.knn import KnnHead
from concerto.heads.linear import LinearHead
from concerto.heads.making import Head, make_head

__all__ = [
    "DecoderConfig",
    "DecoderHead",
    "Head",
    "HeadConfig",
    "KnnConfig",
    "KnnHead",
    "LinearConfig",
    "LinearHead",
    "make_head",
]
