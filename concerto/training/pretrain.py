"""Joint 2D-3D pretraining: `accelerate launch -m concerto.training.pretrain --recipe … --data …`.

What is here is only how the parts meet: scenes become views, the frozen image encoder looks at
their images, the objective compares student and teacher, and the loop does the rest.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from concerto.errors import ConcertoError, ConcertoWarning, ConfigError
from concerto.points.point_cloud import PointCloud
from concerto.training.image_teacher import ImageTeacher
from concerto.training.monitors import CollapseWatch
from concerto.training.objective import JointObjective, StepSettings
from concerto.training.pictures import feature_picture
from concerto.training.recipes import Recipe
from concerto.training.samples import Batch
from concerto.training.schedules import cosine, one_cycle, ramp
from concerto.training.task import ParameterGroup, Rates, StepOutput, Task

BLOCK = re.compile(r"student\.encoder\.stages\.(\d+)\.blocks\.(\d+)\.")


class Pretraining(Task[Batch]):
    """Student and teacher, and how they are optimised.

    image_encoder: on the device already; None where the recipe has none. scene: what pictures are
    of; None for no pictures.
    """

    def __init__(
        self,
        recipe: Recipe,
        image_encoder: ImageTeacher | None,
        scene: PointCloud | None = None,
    ) -> None:
        self.recipe = recipe
        self.image_encoder = image_encoder
        self.scene = scene
        self.watch = CollapseWatch()
        self.module: JointObjective = JointObjective(recipe.model, recipe.objective, recipe.backend)
        self.module.student.encoder.activation_checkpointing = recipe.activation_checkpointing
        if image_encoder is not None:
            _check_image_encoder(recipe, image_encoder)

    def forward(self, module: nn.Module, batch: Batch, step: int, total: int) -> StepOutput:
        """Losses of one batch. The image encoder is no part of the trained module."""
        features: Tensor | None = None
        if self.image_encoder is not None and len(batch.images):
            features = self.image_encoder(batch.images)
        losses = module(batch, features, self.step_settings(step, total))
        values = {f.name: getattr(losses, f.name).detach() for f in dataclasses.fields(losses)}
        del values["total"]
        return StepOutput(losses.total, values)

    def step_settings(self, step: int, total: int) -> StepSettings:
        """How hard the task is at a step."""
        teaching = self.recipe.teaching
        return StepSettings(
            teacher_temperature=ramp(step, total, teaching.temperature, teaching.warmup),
            mask_size=ramp(step, total, teaching.mask_size, teaching.warmup),
            mask_ratio=ramp(step, total, teaching.mask_ratio, teaching.warmup),
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        """Blocks nearer to the input learn more slowly; all else has the whole rate."""
        optimizer, depths = self.recipe.optimizer, self.recipe.model.depths
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.module.named_parameters():
            if not parameter.requires_grad:
                continue
            found = BLOCK.match(name)
            after = 0
            if found is not None:
                stage, block = int(found[1]), int(found[2])
                after = sum(depths[stage:]) - block - 1
            groups.setdefault(optimizer.lr * optimizer.layer_decay**after, []).append(parameter)
        return [ParameterGroup(parameters, lr) for lr, parameters in groups.items()]

    def rates(self, step: int, total: int) -> Rates:
        """One cycle of the learning rate, a cosine of the weight decay."""
        optimizer = self.recipe.optimizer
        return dataclasses.replace(
            one_cycle(step, total, optimizer.warmup),
            weight_decay=cosine(step, total, optimizer.weight_decay),
        )

    def after_step(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """The teacher follows; the monitors are read once the warm-up is over."""
        self.module.update_teacher(cosine(step, total, self.recipe.teaching.momentum))
        if step >= self.recipe.teaching.warmup * total:
            for message in self.watch.read(values):
                warnings.warn(f"Step {step}: {message}", ConcertoWarning, stacklevel=2)

    def pictures(self, step: int) -> dict[str, np.ndarray]:
        """The fixed scene as the teacher sees it."""
        if self.scene is None:
            return {}
        return {"features": feature_picture(self.module.teacher.encoder, self.scene)}

    def settings(self) -> dict[str, Any]:
        """The recipe, but for what the loop keeps itself and what changes no result."""
        values = dataclasses.asdict(self.recipe)
        for name in ("loop", "workers", "picture_scene", "activation_checkpointing", "backend"):
            del values[name]
        return values

    def extra_state(self) -> dict[str, Any]:
        """What the watch has seen."""
        return self.watch.state()

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `extra_state` gave."""
        self.watch.load_state(state)
