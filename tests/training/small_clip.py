"""A CLIP model of open_clip's with random weights, small enough for tests, and a file of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

NAME = "tiny-clip-of-tests"
WIDTH = 16
CONTEXT = 12


def small_clip(folder: Path) -> str:
    """The model's name, as translators and image towers take it. Skips without open_clip."""
    open_clip: Any = pytest.importorskip("open_clip", exc_type=ImportError)
    config = {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 64,
            "patch_size": 8,
            "head_width": 32,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    }
    (folder / f"{NAME}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{NAME}.json")
    torch.manual_seed(0)
    file = folder / "clip.pt"
    torch.save(open_clip.create_model(NAME).state_dict(), file)
    return f"{NAME}/{file}"


def files_on_hub(name: str) -> dict[str, bytes]:
    """What a repo of the Hub holds in open_clip's layout. name: as `small_clip` gives it."""
    import open_clip
    from safetensors.torch import save

    weights: Any = torch.load(name.partition("/")[2], weights_only=True)
    config = {"model_cfg": open_clip.get_model_config(NAME), "preprocess_cfg": {}}
    return {
        "open_clip_config.json": json.dumps(config).encode(),
        "open_clip_model.safetensors": save({k: v.contiguous() for k, v in weights.items()}),
    }
