"""Joint 2D-3D self-supervision: what Concerto's encoder is trained to do.

A student sees a scene in part, with patches masked or in small crops, and says for each point
which prototypes it belongs to; a teacher, the moving average of the student, sees it whole and
says the same of the point that lies there. At the same time the student's features of the points
in an image patch, mapped by one linear layer, are to be the features of a frozen image encoder.

    total = 1/8 mask + 1/8 roll mask + 2/8 unmask + 4/8 cross-modal

Every number is that of the whole batch, however many processes share it.

Sources: arXiv 2503.16429 (Sonata), whose recipe is weights of 2/8, 2/8, 4/8 and 0 and two heads of
the teacher's, and 2510.23607 (Concerto). Defaults are those published for the base model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from concerto.config import ConcertoConfig
from concerto.encoder import Backend, EncodedLevel, PointTransformer
from concerto.encoder.random import hash_seeds
from concerto.errors import ConfigError, InputError
from concerto.fields import check_integer
from concerto.grids import cloud_of_row
from concerto.training.pretraining.cross_modal import (
    Hits,
    cosine_losses,
    hits,
    patch_grid,
    patch_means,
)
from concerto.training.pretraining.distillation import Distilled, distill
from concerto.training.pretraining.levels import (
    LevelPoints,
    level_points,
    pool_seen,
    up_cast_width,
)
from concerto.training.pretraining.masking import Masked, jitter_masked, mask_cells
from concerto.training.pretraining.matching import match
from concerto.training.pretraining.projection_head import ProjectionHead
from concerto.training.pretraining.total import Losses, combine
from concerto.training.scenes.samples import Batch, Clouds

__all__ = ["JointObjective", "Losses", "ObjectiveConfig", "StepSettings"]

ImageViews = Literal["principal", "all"]

# What a view's seed is derived for: no two draw the same numbers.
MASK, JITTER, TEACHER, STUDENT, LOCAL = range(5)


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the objective is made of, apart from the encoder."""

    mask_weight: float = 1 / 8
    """Weight of the term: masked global views of the student, the same ones of the teacher."""
    roll_mask_weight: float = 1 / 8
    """Weight of the term: masked global views of the student, each other one of the teacher."""
    unmask_weight: float = 2 / 8
    """Weight of the term: local views of the student, the principal one of the teacher."""
    cross_modal_weight: float = 4 / 8
    """Weight of the term with images; 0 makes no layer for it, and images are not looked at."""
    head_hidden: int = 4096
    """Width of the projection heads' hidden layer."""
    head_width: int = 256
    """Width of what is compared with the prototypes."""
    prototypes: int = 4096
    """Directions that points are assigned to."""
    up_cast: int = 2
    """Levels that features are copied down from the coarsest, for the heads."""
    teacher_unmask_head: bool = False
    """Whether the teacher says by a head of its own what local views are to say, as Sonata's; else
    its mask head makes all targets, as Concerto's."""
    image_up_cast: int = 3
    """The same, for the image encoder's features."""
    image_views: ImageViews = "principal"
    """Views of the student that images teach: the principal one, as published, or all."""
    image_width: int = 1536
    """Channels of the image encoder's features."""
    student_temperature: float = 0.1
    """Divides the student's logits."""
    match_radius: float = 0.32
    """Points further apart than this (metres, after scaling, before augmentation) are no pair."""
    mask_jitter: float = 0.01
    """Deviation of the noise on masked points' coordinates, metres, after scaling."""

    def __post_init__(self) -> None:
        """Raises ConfigError for what cannot be."""
        if min(self.self_weights) < 0 or self.cross_modal_weight < 0 or not sum(self.self_weights):
            raise ConfigError(
                "Weights of the terms cannot be negative, and one of mask, roll mask and unmask "
                f"must be positive; they are {self.self_weights} and {self.cross_modal_weight}."
            )
        check_integer(self, "head_hidden", "head_width", "image_width", least=1)
        check_integer(self, "prototypes", least=2)
        check_integer(self, "up_cast", "image_up_cast", least=0)
        if self.mask_jitter < 0:
            raise ConfigError(f"mask_jitter is {self.mask_jitter}; it must be at least 0.")
        if self.image_views not in get_args(ImageViews):
            raise ConfigError(
                f'image_views is {self.image_views!r}; it must be "principal" or "all".'
            )
        for name in ("student_temperature", "match_radius"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive.")

    @property
    def self_weights(self) -> tuple[float, float, float]:
        """Weights of mask, roll mask and unmask."""
        return self.mask_weight, self.roll_mask_weight, self.unmask_weight


@dataclass(frozen=True)
class StepSettings:
    """Values that change from step to step.

    teacher_temperature: divides the teacher's logits. mask_size: edge of a masked cell, metres.
    mask_ratio: share of cells that is masked.
    """

    teacher_temperature: float
    mask_size: float
    mask_ratio: float


class Student(nn.Module):
    """What is trained. The mask head serves masked views, the unmask head local ones."""

    def __init__(self, encoder: PointTransformer, mask: ProjectionHead, unmask: ProjectionHead):
        super().__init__()
        self.encoder = encoder
        self.mask_head = mask
        self.unmask_head = unmask


class Teacher(nn.Module):
    """The moving average of the student; without drop path and gradient.

    unmask_head: None where the mask head makes the targets of local views too.
    """

    def __init__(
        self, encoder: PointTransformer, mask: ProjectionHead, unmask: ProjectionHead | None
    ):
        super().__init__()
        self.encoder = encoder
        self.mask_head = mask
        self.unmask_head = unmask


class JointObjective(nn.Module):
    """Student, teacher and the losses between them.

    image_projection: maps averaged point features to the image encoder's; None where the
        cross-modal term has no weight.
    """

    def __init__(
        self, encoder: ConcertoConfig, config: ObjectiveConfig, backend: Backend = "torch"
    ) -> None:
        super().__init__()
        _check_fit(encoder, config)
        self.config = config
        width = up_cast_width(encoder.channels, config.up_cast)
        sizes = (width, config.head_hidden, config.head_width, config.prototypes)
        self.student = Student(
            PointTransformer(encoder, backend), ProjectionHead(*sizes), ProjectionHead(*sizes)
        )
        self.teacher = Teacher(
            PointTransformer(encoder.replace(drop_path=0.0), backend),
            ProjectionHead(*sizes),
            ProjectionHead(*sizes) if config.teacher_unmask_head else None,
        ).requires_grad_(False)
        self.image_projection = (
            nn.Linear(up_cast_width(encoder.channels, config.image_up_cast), config.image_width)
            if config.cross_modal_weight
            else None
        )
        self.update_teacher(0.0)

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """teacher = momentum · teacher + (1 - momentum) · student."""
        average = get_ema_multi_avg_fn(momentum)
        pairs: list[tuple[nn.Module, nn.Module]] = [
            (self.teacher.encoder, self.student.encoder),
            (self.teacher.mask_head, self.student.mask_head),
        ]
        if self.teacher.unmask_head is not None:
            pairs.append((self.teacher.unmask_head, self.student.unmask_head))
        for teacher, student in pairs:
            average([*teacher.parameters()], [*student.parameters()], None)
            # Apart: where parameters are sharded (FSDP) buffers are not, and torch mixes no two.
            if buffers := [*teacher.buffers()]:
                average(buffers, [*student.buffers()], None)

    def forward(
        self, batch: Batch, image_features: Tensor | None, settings: StepSettings
    ) -> Losses:
        """Draw masks, and compare.

        image_features: (I, patches, image_width) of `batch.images`; None where there are none.
        """
        masked = self.draw_masks(batch, settings)
        return self.losses(batch, masked, image_features, settings.teacher_temperature)

    def draw_masks(self, batch: Batch, settings: StepSettings) -> Masked:
        """The global views with cells masked and the masked voxels jittered."""
        views = batch.global_views
        seeds = _view_seeds(batch.seeds, len(views.offsets), MASK)
        rows = mask_cells(views, seeds, settings.mask_size, settings.mask_ratio)
        if not self.config.mask_jitter:
            return Masked(views, rows)
        seeds = _view_seeds(batch.seeds, len(views.offsets), JITTER)
        grid_size = self.student.encoder.config.grid_size
        return jitter_masked(views, rows, seeds, self.config.mask_jitter, grid_size)

    def losses(
        self,
        batch: Batch,
        masked: Masked,
        image_features: Tensor | None,
        teacher_temperature: float,
    ) -> Losses:
        """All terms, for masks already drawn."""
        config, student = self.config, self.student
        views, locals_, seeds = batch.global_views, batch.local_views, batch.seeds
        with torch.no_grad():
            levels = _encode(self.teacher.encoder, views, seeds, TEACHER)
            whole = level_points(levels, config.up_cast, views.origin_coord)
            wanted = wanted_local = self.teacher.mask_head(whole.feat)
            if self.teacher.unmask_head is not None:
                wanted_local = self.teacher.unmask_head(whole.feat)

        masked_levels = _encode(student.encoder, masked.clouds, seeds, STUDENT, masked.rows)
        part = level_points(masked_levels, config.up_cast, views.origin_coord)
        embedded = student.mask_head.embed(part.feat)
        given = student.mask_head.prototypes(embedded)
        levels = _encode(student.encoder, locals_, seeds, LOCAL)
        crop = level_points(levels, config.up_cast, locals_.origin_coord)
        given_local = student.unmask_head(crop.feat)

        count = len(locals_.offsets) // len(seeds)
        itself = range(len(views.offsets))
        other = [cloud ^ 1 for cloud in itself]
        principal = [cloud // count * 2 for cloud in range(len(locals_.offsets))]

        def term(
            points: LevelPoints, logits: Tensor, wanted: Tensor, target_of: Sequence[int]
        ) -> Distilled:
            pairs = match(points, whole, target_of, config.match_radius)
            temperatures = config.student_temperature, teacher_temperature
            return distill(logits, wanted, pairs, *temperatures)

        terms = (
            term(part, given, wanted, itself),
            term(part, given, wanted, other),
            term(crop, given_local, wanted_local, principal),
        )
        patches = self._cross_modal(masked_levels, levels, batch, image_features)
        weights = *config.self_weights, config.cross_modal_weight
        return combine(terms, patches, embedded.detach(), weights)

    def _cross_modal(
        self,
        global_levels: list[EncodedLevel],
        local_levels: list[EncodedLevel],
        batch: Batch,
        image_features: Tensor | None,
    ) -> Tensor:
        """Losses (p,) of the patches of images that points fall into, each view's own."""
        if self.image_projection is None:
            return batch.global_pixels.new_zeros(0)
        if not len(batch.images):
            # Nothing, computed all the same: DDP waits for a gradient of every parameter.
            none = Hits(*batch.global_views.offsets.new_zeros(2, 0))
            nothing = self.image_projection(
                patch_means(self._taught_levels(global_levels), none)[0]
            )
            return cosine_losses(nothing, nothing)
        if image_features is None:
            raise InputError("The batch has images; give the image encoder's features of them.")
        self._check_features(image_features, len(batch.images))
        taught = [(global_levels, _of_principal(batch.global_pixels, batch.global_views.offsets))]
        if self.config.image_views == "all":
            taught = [(global_levels, batch.global_pixels), (local_levels, batch.local_pixels)]
        seen = [self._seen_patches(*views, batch, image_features.shape[1]) for views in taught]
        given = self.image_projection(torch.cat([feat for feat, _ in seen]))
        wanted = image_features.flatten(0, 1)[torch.cat([patch for _, patch in seen])]
        return cosine_losses(given, wanted)

    def _seen_patches(
        self, levels: list[EncodedLevel], pixels: Tensor, batch: Batch, patches: int
    ) -> tuple[Tensor, Tensor]:
        """Mean features (p, C) of what views see of patches of images, and which patches (p,).

        pixels: (n, I, 2) of the finest level. patches: of one image.
        """
        taught = self._taught_levels(levels)
        offsets = taught[0].offsets
        view = cloud_of_row(offsets, int(offsets[-1]))
        counts = torch.tensor(batch.image_counts, device=view.device)
        first_image = counts.cumsum(0) - counts
        seen = hits(
            pool_seen(levels, len(levels) - len(taught), pixels),
            first_image[view // (len(offsets) // len(counts))],
            patch_grid(batch.images, patches),
        )
        # Apart for each view: what two of them see of a patch has no one mean.
        total = len(batch.images) * patches
        seen = Hits(seen.point, view[seen.point] * total + seen.patch)
        feat, patch_of_view = patch_means(taught, seen)
        return feat, patch_of_view % total

    def _taught_levels(self, levels: list[EncodedLevel]) -> list[EncodedLevel]:
        """Those whose features are to be the image encoder's."""
        return levels[len(levels) - 1 - self.config.image_up_cast :]

    def _check_features(self, features: Tensor, images: int) -> None:
        if features.ndim != 3 or len(features) != images:
            raise InputError(
                f"image_features has shape {tuple(features.shape)}; for {images} images it must be "
                f"({images}, patches, {self.config.image_width})."
            )
        if features.shape[2] != self.config.image_width:
            raise ConfigError(
                f"The image encoder has {features.shape[2]} channels, and the objective was made "
                f"for {self.config.image_width}. Set image_width={features.shape[2]}."
            )


def _encode(
    encoder: PointTransformer,
    clouds: Clouds,
    seeds: Tensor,
    purpose: int,
    mask: Tensor | None = None,
) -> list[EncodedLevel]:
    seeds = _view_seeds(seeds, len(clouds.offsets), purpose)
    levels: list[EncodedLevel] = encoder(
        clouds.feat, clouds.grid_coord, clouds.offsets, mask, seeds=seeds
    )
    return levels


def _view_seeds(seeds: Tensor, views: int, purpose: int) -> Tensor:
    """One seed (views,) a view, from the samples' seeds (S,)."""
    number = torch.arange(views // len(seeds), device=seeds.device)
    return hash_seeds(seeds[:, None], purpose, number).flatten()


def _of_principal(pixels: Tensor, offsets: Tensor) -> Tensor:
    """Positions in images (n, I, 2) of global views, -1 in every second one."""
    second = cloud_of_row(offsets, len(pixels)) % 2 == 1
    return pixels.masked_fill(second[:, None, None], -1.0)


def _check_fit(encoder: ConcertoConfig, config: ObjectiveConfig) -> None:
    most = encoder.stages - 1
    for name in ("up_cast", "image_up_cast"):
        if getattr(config, name) > most:
            raise ConfigError(
                f"{name} is {getattr(config, name)}; an encoder of {encoder.stages} stages has "
                f"{most} levels to go up."
            )
    if not encoder.mask_token:
        raise ConfigError("The encoder has no mask token, and training masks points.")
