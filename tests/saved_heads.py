"""Heads that were saved without their encoders."""

from __future__ import annotations

from pathlib import Path

import torch

from concerto import Segmenter
from concerto.segmenter.over import Over, fingerprint
from concerto.segmenter.storing import write_segmenter


def save_over(folder: Path, encoder: Path, segmenter: Segmenter, **adapters: torch.Tensor) -> None:
    """The head alone, over an encoder in a folder."""
    segmenter.model.save_pretrained(encoder)
    head = {k: v for k, v in segmenter.state_dict().items() if k.startswith("head.")}
    over = Over(str(encoder), fingerprint(segmenter.model.state_dict()), 2.0 if adapters else None)
    write_segmenter(folder, segmenter.config, head | adapters, over)
