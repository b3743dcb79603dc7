"""`concerto convert`: weights from one layout to another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro

from concerto.checkpoints import CONFIG_FILE, WEIGHTS_FILE, write_published
from concerto.errors import InputError
from concerto.files import check_kept
from concerto.hub import PICKLES, locate
from concerto.model import Concerto


def convert(
    source: Annotated[str, tyro.conf.arg(metavar="SOURCE")],
    target: Annotated[Path, tyro.conf.arg(metavar="TARGET")],
    /,
) -> None:
    """Write weights in our layout, or back in the published one. Numbers and dtypes stay.

    Args:
        source: A name, org/name[@revision], a folder, or a .pth or .safetensors file; of a whole
            training state only the student's encoder is taken.
        target: A folder gets config.json and model.safetensors; a name ending in .pth becomes a
            published file, which keeps what is ours under a key of its own.
    """
    if os.path.exists(source):
        found = locate(source)
        check_kept(found.weights, target, target / WEIGHTS_FILE)
        if found.config is not None:
            check_kept(found.config, target / CONFIG_FILE)
    model = Concerto.from_pretrained(source, dtype="auto")
    if target.suffix in PICKLES:
        write_published(target, model.config, model.state_dict())
    elif target.suffix[1:].isalpha() and not target.is_dir():
        raise InputError(f"{target} must be a folder, or end in .pth.")
    else:
        model.save_pretrained(target)
    print(target)
