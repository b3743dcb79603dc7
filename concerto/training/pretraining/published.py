"""Published training checkpoints: the encoder, and the teacher, heads and projection beside it.

The optimiser's state in such a file belongs to the published code's own parameter groups and is
not read: a run that goes on from one starts its schedules anew.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from concerto.checkpoints import (
    OWN_FIELDS,
    check_tensors,
    config_to_published,
    read_checkpoint,
    tensor_names,
)
from concerto.config import ConcertoConfig
from concerto.errors import ConcertoWarning
from concerto.files import replacing
from concerto.training.pretraining.objective import JointObjective
from concerto.weight_files import OWN_FIELDS_KEY, read_weights

Names = list[tuple[str, str]]
State = dict[str, Tensor]

# What the published trainer puts before every name.
WRAPPER = "module."
HEAD_NAMES = (
    ("mlp.0.weight", "fc1.weight"),
    ("mlp.0.bias", "fc1.bias"),
    ("mlp.2.weight", "fc2.weight"),
    ("mlp.2.bias", "fc2.bias"),
    ("prototype.parametrizations.weight.original0", "prototypes.gain"),
    ("prototype.parametrizations.weight.original1", "prototypes.direction"),
)
BRANCHES = ("student", "teacher")
HEADS = ("student.mask_head", "student.unmask_head", "teacher.mask_head")
# All published files have it; Concerto's objective does not use it.
UNMASK_TEACHER = "teacher.unmask_head"
PROJECTION_NAMES = [
    (f"patch_proj.{name}", f"image_projection.{name}") for name in ("weight", "bias")
]


def warm_start(objective: JointObjective, weights: Path, config_file: Path | None = None) -> None:
    """Begin from weights on disk: a whole training state, or an encoder in any layout.

    A training state gives student, teacher, heads and projection. Heads or a projection that it
    lacks, or has in other sizes, stay as they are, and a ConcertoWarning says so; without an
    encoder of its own the teacher takes the student's. config_file: the config.json that goes with
    `weights`.

    Raises CheckpointError where the file is damaged or its encoder is of another architecture.
    """
    config, state = objective.student.encoder.config, objective.state_dict()
    encoder = read_checkpoint(weights, config_file).tensors
    wanted = {ours: state[f"student.{ours}"] for _, ours in tensor_names(config)}
    check_tensors(encoder, wanted, weights)
    tensors = read_weights(weights).tensors
    heads = _group(_head_names(objective), tensors, state)
    projection = _group(PROJECTION_NAMES, tensors, state)
    found = (
        {f"{branch}.{name}": t for name, t in encoder.items() for branch in BRANCHES}
        | _group(_encoder_names(config, "teacher"), tensors, state)
        | heads
        | projection
    )
    objective.load_state_dict(found, strict=False)
    if not heads:
        highest = math.log(objective.config.prototypes)
        warnings.warn(
            f"{weights} has no projection heads and prototypes of these sizes, so they are new: "
            f"the losses of mask, roll mask and unmask start high, near {highest:.1f}, and fall as "
            "the prototypes find their places. What the encoder has learnt is kept.",
            ConcertoWarning,
            stacklevel=2,
        )
    if objective.image_projection is not None and not projection:
        warnings.warn(
            f"{weights} has no projection to an image encoder of {objective.config.image_width} "
            "channels, so it is new: the cross-modal loss starts high, near 10.",
            ConcertoWarning,
            stacklevel=2,
        )


def write_training(objective: JointObjective, file: Path) -> None:
    """Write the published layout of a training state, from which that code can go on.

    An unmask head of the teacher's that the objective lacks is a copy of the student's.
    """
    config, state = objective.student.encoder.config, objective.state_dict()
    names = training_names(objective)
    copies: Names = []
    if objective.teacher.unmask_head is None:
        copies = _names_of(UNMASK_TEACHER, "student.unmask_head")
    tensors = {WRAPPER + theirs: state[ours].cpu().clone() for theirs, ours in names + copies}
    own = {name: getattr(config, name) for name in OWN_FIELDS}
    content = {"config": config_to_published(config), "state_dict": tensors, OWN_FIELDS_KEY: own}
    with replacing(file) as path:
        torch.save(content, path)


def training_names(objective: JointObjective) -> Names:
    """The published name and ours of every tensor of an objective."""
    config = objective.student.encoder.config
    encoders = [name for branch in BRANCHES for name in _encoder_names(config, branch)]
    projection = [] if objective.image_projection is None else PROJECTION_NAMES
    return encoders + _head_names(objective) + projection


def _encoder_names(config: ConcertoConfig, branch: str) -> Names:
    return [(f"{branch}.backbone.{a}", f"{branch}.{b}") for a, b in tensor_names(config)]


def _head_names(objective: JointObjective) -> Names:
    heads = HEADS if objective.teacher.unmask_head is None else (*HEADS, UNMASK_TEACHER)
    return [name for head in heads for name in _names_of(head, head)]


def _names_of(theirs: str, ours: str) -> Names:
    return [(f"{theirs}.{a}", f"{ours}.{b}") for a, b in HEAD_NAMES]


def _group(names: Names, tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> State:
    """The tensors of a group by our names; none at all where one is absent or of another shape."""
    fits = all(
        ours in state and theirs in tensors and tensors[theirs].shape == state[ours].shape
        for theirs, ours in names
    )
    return {ours: tensors[theirs] for theirs, ours in names} if fits else {}
