"""Make the packaged weights of concerto-tiny: a seeded initialisation, not trained.

Run from the repository's root: python scripts/make_tiny.py
"""

from pathlib import Path

import torch

from concerto import Concerto
from concerto.checkpoints import write_folder
from concerto.hub import PACKAGED, find_model

SEED = 20251026
ASSETS = Path(__file__).parents[1] / "concerto" / "assets"


def make(folder: Path) -> None:
    """Write config.json and model.safetensors, in float16 to keep the wheel small."""
    model = find_model(PACKAGED)
    assert model is not None
    torch.manual_seed(SEED)
    write_folder(folder, model.config, Concerto(model.config).half().state_dict())


if __name__ == "__main__":
    make(ASSETS / PACKAGED)
