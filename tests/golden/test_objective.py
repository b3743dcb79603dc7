"""Parity of the objective with one training step of the published implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from concerto.checkpoints import config_from_published
from concerto.training.pretraining.assignment import sinkhorn
from concerto.training.pretraining.masking import Masked
from concerto.training.pretraining.objective import JointObjective, Losses, ObjectiveConfig
from concerto.training.pretraining.published import training_names, warm_start
from concerto.training.scenes.samples import Batch, Clouds
from conftest import relative_l2

pytestmark = pytest.mark.golden

LOSSES = {
    "loss": "total",
    "mask_loss": "mask",
    "roll_mask_loss": "roll_mask",
    "unmask_loss": "unmask",
    "enc2d_loss": "cross_modal",
}


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(
        shared / "golden" / "official_objective.pth", weights_only=True
    )
    return content


@pytest.fixture(scope="module")
def objective(golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> JointObjective:
    encoder, hyper, state = (golden[name] for name in ("backbone_config", "hyper", "state_dict"))
    hidden = state["student.mask_head.mlp.0.weight"]
    directions = state["student.mask_head.prototype.parametrizations.weight.original1"]
    config = ObjectiveConfig(
        mask_weight=hyper["mask_loss_weight"],
        roll_mask_weight=hyper["roll_mask_loss_weight"],
        unmask_weight=hyper["unmask_loss_weight"],
        cross_modal_weight=hyper["enc2d_loss_weight"],
        head_hidden=len(hidden),
        head_width=directions.shape[1],
        prototypes=len(directions),
        up_cast=hyper["up_cast_level"],
        image_up_cast=hyper["enc2d_upcast_level"],
        image_width=len(state["patch_proj.weight"]),
        student_temperature=hyper["student_temp"],
        match_radius=hyper["match_max_r"],
    )
    file = tmp_path_factory.mktemp("golden") / "training.pth"
    torch.save(
        {"config": encoder, "state_dict": {f"module.{k}": t for k, t in state.items()}}, file
    )
    made = JointObjective(config_from_published(encoder), config)
    warm_start(made, file)
    return made


@pytest.fixture(scope="module")
def losses(golden: dict[str, Any], objective: JointObjective) -> Losses:
    """Of one forward pass, whose gradients are left on the objective."""
    given = golden["batch"]
    batch = Batch(
        names=("a", "b"),
        seeds=torch.tensor([1, 2]),
        global_views=clouds(given, "global"),
        local_views=clouds(given, "local"),
        images=given["images"],
        image_counts=tuple(given["img_num"].tolist()),
        global_pixels=given["global_correspondence"],
        local_pixels=torch.full((len(given["local_coord"]), 1, 2), -1.0),
    )
    masked = Masked(batch.global_views, given["mask"])
    out = objective.losses(batch, masked, given["feature2d"], golden["hyper"]["teacher_temp"])
    out.total.backward()
    return out


def clouds(given: dict[str, Tensor], name: str) -> Clouds:
    coord = given[f"{name}_coord"]
    return Clouds(
        feat=given[f"{name}_feat"],
        grid_coord=((coord - coord.amin(0)) / given["grid_size"]).trunc().long(),
        origin_coord=given[f"{name}_origin_coord"],
        offsets=given[f"{name}_offset"],
    )


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_agrees(golden: dict[str, Any], losses: Losses, name: str) -> None:
    wanted = golden["losses"][name].item()
    assert getattr(losses, LOSSES[name]).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.usefixtures("losses")
def test_every_stored_gradient_agrees(golden: dict[str, Any], objective: JointObjective) -> None:
    names = dict(training_names(objective))
    for name, wanted in golden["grads"].items():
        gradient = objective.get_parameter(names[name]).grad
        assert gradient is not None
        assert relative_l2(gradient, wanted) <= 1e-4, name


@pytest.mark.usefixtures("losses")
def test_the_norm_of_all_gradients_agrees(
    golden: dict[str, Any], objective: JointObjective
) -> None:
    norms = [p.grad.norm() for p in objective.parameters() if p.grad is not None]
    wanted = golden["grad_norm"].item()
    assert torch.stack(norms).norm().item() == pytest.approx(wanted, rel=1e-4)


def test_the_balanced_assignment_agrees(shared: Path) -> None:
    stored = torch.load(shared / "golden" / "official_sinkhorn.pth", weights_only=True)
    assert relative_l2(sinkhorn(stored["logits"], stored["temp"]), stored["assign"]) <= 1e-5
