"""Small rooms and an encoder to fine-tune, and short runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from concerto import Concerto
from concerto.heads import DecoderConfig
from concerto.training.finetuning.config import ProbeConfig
from concerto.training.run.loop import LoopConfig
from conftest import SMALL
from labelled_rooms import CLASSES, room
from made_samples import write_prepared

DECODER = DecoderConfig(depths=(1, 1, 1, 1), channels=(8, 16, 16, 24), heads=(1, 2, 2, 3))


def make_place(folder: Path) -> Path:
    """Rooms to learn from and to test on, and an encoder with random weights."""
    write_prepared(folder / "data", [room(k) for k in range(6)], classes=CLASSES)
    write_prepared(folder / "data", [room(k) for k in range(6, 9)], "val", CLASSES)
    torch.manual_seed(0)
    Concerto(SMALL.replace(license="mit")).save_pretrained(folder / "encoder")
    return folder


def config(place: Path, output: Path, **changes: Any) -> ProbeConfig:
    """Three steps on the rooms of a place, or the fit that has none."""
    loop: dict[str, Any] = {"tracker": "none"}
    values: dict[str, Any] = {"encoder": str(place / "encoder"), "data": (str(place / "data"),)}
    if changes.get("protocol") != "cached":
        loop |= {"batch_size": 2, "log_every": 1, "max_steps": 3}
        values["workers"] = 0
    loop |= changes.pop("loop", {})
    if changes.get("mode") in ("decoder", "full"):
        values["decoder"] = DECODER
    return ProbeConfig(loop=LoopConfig(output, **loop), **(values | changes))
