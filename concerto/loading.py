"""`concerto.from_pretrained`: any source of weights, as the class that its config names."""

from __future__ import annotations

import os
from typing import Any

from concerto import hub
from concerto.checkpoints import TRANSLATOR_TYPE, read_config
from concerto.model import Concerto
from concerto.translator.model import Translator

REACH = ("revision", "filename", "token", "cache_dir", "local_files_only")


def from_pretrained(
    pretrained_model_name_or_path: str | os.PathLike[str] = "concerto-tiny", **options: Any
) -> Any:
    """Load pretrained weights: a `Concerto`, or a `Translator` where the config says so.

    See `Concerto.from_pretrained` for sources, options and errors.
    """
    reach = {name: options[name] for name in REACH if name in options}
    source = hub.locate(pretrained_model_name_or_path, **reach)
    kind = None if source.config is None else read_config(source.config).get("model_type")
    wanted = Translator if kind == TRANSLATOR_TYPE else Concerto
    return wanted.from_pretrained(pretrained_model_name_or_path, **options)
