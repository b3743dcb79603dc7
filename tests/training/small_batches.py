"""Views of small made-up rooms, for tests of the objective."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from concerto.config import ConcertoConfig
from concerto.training.pretraining.objective import JointObjective, ObjectiveConfig, StepSettings
from concerto.training.scenes.samples import SampleViews, View
from conftest import SMALL, random_cloud

ENCODER: ConcertoConfig = SMALL.replace(drop_path=0.2)
CONFIG = ObjectiveConfig(head_hidden=32, head_width=16, prototypes=24, image_width=12)
SETTINGS = StepSettings(teacher_temperature=0.05, mask_size=0.2, mask_ratio=0.5)
IMAGE_SIZE, PATCH = 28, 7
PATCHES = (IMAGE_SIZE // PATCH) ** 2
ROOM = 1.5  # metres along each side


def small_objective(
    encoder: ConcertoConfig = ENCODER, config: ObjectiveConfig = CONFIG
) -> JointObjective:
    """The same weights every time; some noise makes the teacher differ from the student."""
    torch.manual_seed(0)
    objective = JointObjective(encoder, config)
    with torch.no_grad():
        for parameter in objective.teacher.parameters():
            parameter.add_(0.05 * parameter.std(correction=0) * torch.randn_like(parameter))
    return objective


def small_sample(seed: int, images: int = 2) -> SampleViews:
    """Two global and two local views of one room, and images that see half of it each."""
    cloud = random_cloud(700, seed=seed, extent=ROOM)
    assert cloud.color is not None
    assert cloud.normal is not None
    feat = torch.cat([cloud.coord, cloud.color, cloud.normal], dim=1)
    random = torch.Generator().manual_seed(seed)
    principal = _view(feat, feat[:, :3], random)
    crops = [
        _view(*_nearest(feat, principal.origin_coord[row], count), random)
        for row, count in ((10, 500), (20, 200), (30, 150))
    ]
    return SampleViews(
        name=f"room {seed}",
        seed=1000 + seed,
        principal=principal,
        second=crops[0],
        local=tuple(crops[1:]),
        images=torch.rand(images, 3, IMAGE_SIZE, IMAGE_SIZE, generator=random),
        pixels=tuple(_pixels(view.origin_coord, images) for view in (principal, *crops)),
    )


def without_pairs(sample: SampleViews) -> SampleViews:
    """The same, but no two views show the same place."""
    views = (sample.principal, sample.second, *sample.local)
    _, second, *local = (
        replace(view, origin_coord=view.origin_coord + 100 * number)
        for number, view in enumerate(views)
    )
    return replace(sample, second=second, local=tuple(local))


def image_features(images: Tensor, width: int = CONFIG.image_width) -> Tensor:
    """Something that depends on each image alone: (I, patches, width)."""
    values = torch.nn.functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2)
    weights = torch.linspace(-1, 1, values.shape[2] * width).view(values.shape[2], width)
    return (3 * values @ weights).sin()


def _nearest(feat: Tensor, center: Tensor, count: int) -> tuple[Tensor, Tensor]:
    rows = (feat[:, :3] - center).norm(dim=1).argsort()[:count]
    return feat[rows], feat[rows, :3]


def _view(feat: Tensor, origin_coord: Tensor, random: torch.Generator) -> View:
    """Turned about z, and one row a voxel."""
    cos, sin = (torch.rand(2, generator=random) - 0.5).div(2).unbind()
    turn = torch.tensor([[1 - cos.abs(), -sin, 0], [sin, 1 - cos.abs(), 0], [0, 0, 1]])
    coord = feat[:, :3] @ turn.T
    grid = ((coord - coord.amin(0)) / ENCODER.grid_size).floor().long()
    _, group = torch.unique(grid, dim=0, return_inverse=True)
    rows = torch.full((int(group.max()) + 1,), len(group)).scatter_reduce(
        0, group, torch.arange(len(group)), "amin"
    )
    rows = rows.sort().values
    feat = torch.cat([coord, feat[:, 3:]], dim=1)
    return View(feat[rows], grid[rows], origin_coord[rows].clone())


def _pixels(coord: Tensor, images: int) -> Tensor:
    """Each image looks along another axis and sees the half of the room nearer to x = 0."""
    side = IMAGE_SIZE / PATCH
    share = coord / ROOM
    views = [share[:, [(n + 1) % 3, (n + 2) % 3]] * side for n in range(images)]
    if not views:
        return torch.empty(len(coord), 0, 2)
    pixels = torch.stack(views, dim=1)
    return pixels.masked_fill((share[:, 0] > 0.5)[:, None, None], -1.0)
