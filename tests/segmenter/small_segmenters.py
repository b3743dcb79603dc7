"""Segmenters as small as they come, with random weights."""

from __future__ import annotations

import torch

from concerto import Segmenter, SegmenterConfig
from concerto.heads import DecoderConfig, KnnConfig, LinearConfig
from conftest import SMALL

CLASSES = ("wall", "floor", "chair")
HEADS = (
    LinearConfig(),
    DecoderConfig(depths=(1, 1, 1, 1), channels=(8, 16, 16, 24), heads=(1, 2, 2, 3)),
    KnnConfig(rows=9),
)


def made(head: object = HEADS[0]) -> Segmenter:
    torch.manual_seed(1)
    segmenter = Segmenter(SegmenterConfig(SMALL, head, CLASSES)).eval()
    if isinstance(head, KnnConfig):
        segmenter.head.features.normal_()
        segmenter.head.labels.copy_(torch.arange(9) % 3)
    return segmenter
