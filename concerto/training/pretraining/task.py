"""The task of pretraining: how scenes, image encoder, objective and schedules meet in a step."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from concerto.encoder import Block, PointTransformer
from concerto.encoder.pooling import GridPooling
from concerto.encoder.sparse_conv import SubmanifoldConv
from concerto.errors import ConcertoWarning, ConfigError
from concerto.points.point_cloud import PointCloud
from concerto.training.images.teacher import ImageTeacher
from concerto.training.pretraining.monitors import CollapseWatch
from concerto.training.pretraining.objective import JointObjective
from concerto.training.pretraining.pictures import feature_picture
from concerto.training.pretraining.projection_head import ProjectionHead
from concerto.training.recipes import Recipe
from concerto.training.run.schedules import cosine
from concerto.training.run.state import whole
from concerto.training.run.task import ParameterGroup, Rates, StepOutput, Task
from concerto.training.scenes.samples import Batch

# What makes no difference to the result, so that a run may go on with other values.
HOW = ("loop", "workers", "picture_scene", "activation_checkpointing", "backend")
NO_IMAGES = (
    "In a whole step no image saw a point, so the other terms stood in for the cross-modal one. If "
    "the data have no images, pass --objective.cross-modal-weight 0 --images.name None."
)


class Pretraining(Task[Batch]):
    """Student and teacher, and how they are optimised.

    image_encoder: on its device already; None where the recipe has none. scene: what pictures are
    of, None for no pictures. Initial weights come from torch's global generator.

    Raises ConfigError where the image encoder does not fit the recipe.
    """

    module: JointObjective

    def __init__(
        self,
        recipe: Recipe,
        image_encoder: ImageTeacher | None = None,
        scene: PointCloud | None = None,
    ) -> None:
        if image_encoder is not None:
            _check_image_encoder(recipe, image_encoder)
        self.recipe = recipe
        self.image_encoder = image_encoder
        self.scene = scene
        self.watch = CollapseWatch()
        self.module = JointObjective(recipe.model, recipe.objective, recipe.backend)
        self.module.student.encoder.activation_checkpointing = recipe.activation_checkpointing

    def forward(self, module: nn.Module, batch: Batch, step: int, total: int) -> StepOutput:
        """Losses of one batch. The image encoder is no part of what is trained."""
        features = None
        if self.image_encoder is not None and len(batch.images):
            features = self.image_encoder(batch.images)
        losses = module(batch, features, self.recipe.schedules.settings(step, total))
        values = {field.name: getattr(losses, field.name) for field in dataclasses.fields(losses)}
        if not self.recipe.objective.cross_modal_weight:
            del values["cross_modal"], values["patches"]  # there is no such term to show
        return StepOutput(values.pop("total"), values)

    def parameter_groups(self) -> list[ParameterGroup]:
        """All that is trained: the encoder's blocks, each slower than the one behind it, so that
        what is near the input keeps what it has (layer-wise decay: BEiT, arXiv 2106.08254)."""
        encoder = self.module.student.encoder
        blocks = [module for module in encoder.modules() if isinstance(module, Block)]
        lr, decay = self.recipe.lr, self.recipe.layer_decay
        groups = [
            ParameterGroup(list(block.parameters()), lr * decay**behind)
            for behind, block in enumerate(reversed(blocks))
        ]
        inside = {id(parameter) for group in groups for parameter in group.parameters}
        others = [
            parameter
            for parameter in self.module.parameters()
            if parameter.requires_grad and id(parameter) not in inside
        ]
        groups = [ParameterGroup(others, lr), *groups]
        if not self.recipe.muon:
            return groups
        matrices = _inner_matrices(self.module)
        return [part for group in groups for part in _parted(group, matrices)]

    def rates(self, step: int, total: int) -> Rates:
        """The learning rate's cycle, and the weight decay's cosine."""
        return self.recipe.schedules.rates(step, total)

    def after_step(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """The teacher follows; the monitors are read once the task is as hard as it gets."""
        schedules = self.recipe.schedules
        self.module.update_teacher(cosine(step, total, schedules.momentum))
        if values.get("patches") == 0 and _is_main():
            # Without the step's number, so that Python tells it once.
            warnings.warn(NO_IMAGES, ConcertoWarning, stacklevel=2)
        if step < schedules.warmup * total:
            return
        for message in self.watch.read(values):
            if _is_main():
                warnings.warn(f"Step {step + 1}: {message}", ConcertoWarning, stacklevel=2)

    def pictures(self, step: int) -> dict[str, np.ndarray]:
        """The fixed scene as the teacher sees it; nothing, and a warning, where that fails."""
        if self.scene is None:
            return {}
        # Sharded parameters are put together, which takes all processes; the main one draws.
        state = {k: whole(v) for k, v in self.module.teacher.encoder.state_dict().items()}
        if not _is_main():
            return {}
        with torch.device("meta"):
            encoder = PointTransformer(self.module.teacher.encoder.config, self.recipe.backend)
        encoder.load_state_dict(state, assign=True)
        try:
            return {"features": feature_picture(encoder, self.scene)}
        except Exception as error:  # a scene may not fit the memory, and no picture is worth a run
            # Without the step's number, so that Python tells it once.
            told = f"The scene is not drawn: {type(error).__name__}: {error}"
            warnings.warn(told, ConcertoWarning, stacklevel=2)
            return {}

    def settings(self) -> dict[str, Any]:
        """The recipe, but for what the loop keeps itself and what changes no result."""
        return {k: v for k, v in dataclasses.asdict(self.recipe).items() if k not in HOW}

    def extra_state(self) -> dict[str, Any]:
        """What the watch has seen."""
        return self.watch.state()

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `extra_state` gave."""
        self.watch.load_state(state)


def _inner_matrices(module: nn.Module) -> set[int]:
    """The ids of weights that take features to features: neither the input's nor the output's."""
    return {
        id(layer.weight)
        for part in module.modules()
        if isinstance(part, Block | GridPooling | ProjectionHead)
        for layer in part.modules()
        if isinstance(layer, nn.Linear | SubmanifoldConv)
    }


def _parted(group: ParameterGroup, matrices: set[int]) -> list[ParameterGroup]:
    """A group as the part that AdamW steps and the part that Muon does."""
    parts: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for parameter in group.parameters:
        parts[id(parameter) in matrices].append(parameter)
    return [
        dataclasses.replace(group, parameters=parameters, muon=muon)
        for muon, parameters in parts.items()
        if parameters
    ]


def _check_image_encoder(recipe: Recipe, encoder: ImageTeacher) -> None:
    """Raise ConfigError, with the options to pass, where views or objective expect another."""
    given = recipe.views.patch_size, recipe.objective.image_width
    if given == (encoder.patch_size, encoder.width):
        return
    raise ConfigError(
        f"{recipe.images.name} gives {encoder.width} channels for patches of {encoder.patch_size} "
        f"pixels; the recipe expects {given[1]} for {given[0]}. Pass --objective.image-width "
        f"{encoder.width} --views.patch-size {encoder.patch_size} "
        f"--views.image-size {encoder.image_size}, or another multiple of {encoder.patch_size}."
    )


def _is_main() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
