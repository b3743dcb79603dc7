"""Student, teacher and the losses between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from concerto.errors import ConfigError, InputError
from concerto.training.pretraining.objective import JointObjective, Losses, ObjectiveConfig
from concerto.training.scenes.samples import Batch, SampleViews, collate
from conftest import SMALL, relative_l2
from small_batches import (
    CONFIG,
    ENCODER,
    PATCHES,
    SETTINGS,
    image_features,
    small_objective,
    small_sample,
    without_pairs,
)

SONATA = replace(
    CONFIG,
    mask_weight=2 / 8,
    roll_mask_weight=2 / 8,
    unmask_weight=4 / 8,
    cross_modal_weight=0.0,
    teacher_unmask_head=True,
)


def compare(objective: JointObjective, samples: list[SampleViews]) -> Losses:
    batch = collate(samples)
    features = image_features(batch.images) if len(batch.images) else None
    losses: Losses = objective(batch, features, SETTINGS)
    return losses


def gradients(objective: JointObjective) -> dict[str, Tensor]:
    return {n: p.grad for n, p in objective.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("case", ["images", "no images", "no pairs", "one image in two"])
def test_every_trained_parameter_has_a_finite_gradient_and_no_other(case: str) -> None:
    samples = {
        "images": [small_sample(0)],
        "no images": [small_sample(0, images=0)],
        "no pairs": [without_pairs(small_sample(0))],
        "one image in two": [small_sample(0, images=0), small_sample(1, images=1)],
    }[case]
    objective = small_objective()
    compare(objective, samples).total.backward()
    found = gradients(objective)
    assert set(found) == {n for n, p in objective.named_parameters() if p.requires_grad}
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert all(name.startswith(("student.", "image_projection.")) for name in found)


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    losses = compare(small_objective(), [small_sample(0)])
    wanted = (losses.mask + losses.roll_mask + 2 * losses.unmask + 4 * losses.cross_modal) / 8
    assert losses.total.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert losses.patches > 0
    assert losses.pairs > 0


def test_without_images_the_other_terms_take_over_the_weight() -> None:
    losses = compare(small_objective(), [small_sample(0, images=0)])
    mean = (losses.mask + losses.roll_mask + 2 * losses.unmask) / 4
    assert losses.cross_modal.item() == pytest.approx(mean.item(), rel=1e-6)
    assert losses.total.item() == pytest.approx(mean.item(), rel=1e-6)
    assert losses.patches == 0


def unseen_but(sample: SampleViews, view: int) -> SampleViews:
    """No image sees any view but this one."""
    pixels = [one if at == view else -torch.ones_like(one) for at, one in enumerate(sample.pixels)]
    return replace(sample, pixels=tuple(pixels))


def test_images_teach_the_principal_view_alone() -> None:
    samples = [small_sample(0), small_sample(1, images=1)]
    losses = compare(small_objective(), samples)
    alone = compare(small_objective(), [unseen_but(sample, 0) for sample in samples])
    assert losses.patches == alone.patches
    assert torch.equal(losses.cross_modal, alone.cross_modal)


def test_images_can_teach_all_views_each_by_itself() -> None:
    objective = small_objective(config=replace(CONFIG, image_views="all"))
    samples = [small_sample(0), small_sample(1, images=1)]
    losses = compare(objective, samples)
    alone = [compare(objective, [unseen_but(one, view) for one in samples]) for view in range(4)]
    patches = [view.patches for view in alone]
    assert min(patches) > 0
    assert losses.patches == sum(patches)
    total = sum(count * view.cross_modal for count, view in zip(patches, alone, strict=True))
    assert losses.cross_modal.item() == pytest.approx(float(total / losses.patches), rel=1e-5)


def test_the_sonata_recipe_has_no_part_for_images_and_looks_at_none() -> None:
    objective = small_objective(config=SONATA)
    assert objective.image_projection is None
    losses = objective(collate([small_sample(0, images=2)]), None, SETTINGS)
    wanted = (losses.mask + losses.roll_mask + 2 * losses.unmask) / 4
    assert losses.total.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_a_view_counts_the_same_however_many_pairs_it_has() -> None:
    # Of two samples, one has no pairs between views: the mean is over the views of the other.
    both = compare(
        small_objective(config=SONATA), [small_sample(0), without_pairs(small_sample(1))]
    )
    alone = compare(small_objective(config=SONATA), [small_sample(0)])
    assert both.roll_mask.item() == pytest.approx(alone.roll_mask.item(), rel=1e-5)
    assert both.unmask.item() == pytest.approx(alone.unmask.item(), rel=1e-5)


def test_a_step_repeats_bit_for_bit_whatever_the_global_generator_does() -> None:
    outcomes = []
    for seed in (1, 2):
        objective = small_objective()
        torch.manual_seed(seed)
        losses = compare(objective, [small_sample(0)])
        losses.total.backward()
        outcomes.append({"total": losses.total.detach()} | gradients(objective))
    assert all(torch.equal(outcomes[1][name], value) for name, value in outcomes[0].items())


def test_another_seed_of_a_sample_draws_otherwise() -> None:
    sample = small_sample(0)
    one = compare(small_objective(), [sample])
    other = compare(small_objective(), [replace(sample, seed=sample.seed + 1)])
    assert one.mask != other.mask


def test_masks_of_a_sample_do_not_depend_on_its_batch() -> None:
    objective = small_objective()
    two = objective.draw_masks(collate([small_sample(0), small_sample(1)]), SETTINGS)
    alone = objective.draw_masks(collate([small_sample(1)]), SETTINGS)
    start = len(two.rows) - len(alone.rows)
    assert torch.equal(two.rows[start:], alone.rows)
    assert torch.equal(two.clouds.grid_coord[start:], alone.clouds.grid_coord)
    assert (alone.clouds.grid_coord != collate([small_sample(1)]).global_views.grid_coord).any()


def test_both_global_views_are_masked_differently() -> None:
    sample = small_sample(0)
    twice = replace(sample, second=sample.principal)
    masks = small_objective().draw_masks(collate([twice]), SETTINGS).rows.chunk(2)
    assert not torch.equal(*masks)


def test_local_views_are_told_by_the_teachers_unmask_head_where_there_is_one() -> None:
    for config, asked in ((SONATA, "unmask_head"), (CONFIG, "mask_head")):
        objective = small_objective(config=config)
        before = compare(objective, [small_sample(0)])
        with torch.no_grad():
            objective.teacher.get_submodule(asked).fc2.weight.neg_()
        after = compare(objective, [small_sample(0)])
        assert after.unmask != before.unmask
        assert (after.mask == before.mask) == (asked == "unmask_head")


@pytest.mark.parametrize("config", [CONFIG, SONATA])
def test_the_teacher_starts_as_the_student_and_follows_it(config: ObjectiveConfig) -> None:
    objective = JointObjective(ENCODER, config)
    kept = ("encoder", "mask_head", *(["unmask_head"] if config.teacher_unmask_head else []))
    student = {n: t for n, t in objective.student.state_dict().items() if n.startswith(kept)}
    assert objective.teacher.state_dict().keys() == student.keys()
    start = {n: t.clone() for n, t in objective.teacher.state_dict().items()}
    assert all(torch.equal(start[name], tensor) for name, tensor in student.items())
    with torch.no_grad():
        for tensor in objective.student.state_dict().values():
            tensor.add_(1)
    objective.update_teacher(0.75)
    for name, tensor in objective.teacher.state_dict().items():
        assert torch.allclose(tensor, start[name] + 0.25, atol=1e-6), name


def test_the_teacher_drops_no_paths() -> None:
    objective = small_objective()
    assert objective.student.encoder.config.drop_path > 0
    assert objective.teacher.encoder.config.drop_path == 0


def test_bfloat16_gives_finite_losses_near_those_of_float32() -> None:
    wanted = compare(small_objective(), [small_sample(0)])
    objective = small_objective()
    with torch.autocast("cpu", torch.bfloat16):
        losses = compare(objective, [small_sample(0)])
    losses.total.backward()
    assert losses.total.dtype == torch.float32
    assert losses.total.item() == pytest.approx(wanted.total.item(), rel=0.03)
    parts = (losses.mask + losses.roll_mask + 2 * losses.unmask + 4 * losses.cross_modal) / 8
    assert losses.total.item() == pytest.approx(parts.item(), rel=1e-6)
    assert all(gradient.isfinite().all() for gradient in gradients(objective).values())


def test_recomputed_activations_change_nothing() -> None:
    outcomes = []
    for recompute in (False, True):
        objective = small_objective()
        objective.student.encoder.activation_checkpointing = recompute
        compare(objective, [small_sample(0)]).total.backward()
        outcomes.append(gradients(objective))
    assert all(relative_l2(outcomes[1][n], g) <= 1e-6 for n, g in outcomes[0].items() if g.any())


def test_training_on_one_batch_lowers_every_term() -> None:
    objective = small_objective(SMALL)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=2e-3)
    history = []
    for _ in range(25):
        losses = compare(objective, [small_sample(0)])
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        objective.update_teacher(0.99)
        history.append([losses.mask, losses.roll_mask, losses.unmask, losses.cross_modal])
    first, last = (torch.tensor(history[at]) for at in (0, -1))
    assert (last < 0.9 * first).all()


def test_monitors_tell_a_collapse() -> None:
    healthy = compare(small_objective(), [small_sample(0)])
    assert 1 < healthy.feature_rank <= CONFIG.head_width
    assert 0.2 < healthy.prototype_use <= 1
    objective = small_objective()
    with torch.no_grad():
        objective.student.mask_head.fc2.weight.zero_()
        objective.student.mask_head.fc2.bias.fill_(1)
    collapsed = compare(objective, [small_sample(0)])
    assert collapsed.feature_rank < 0.01
    assert collapsed.prototype_use == 0


def test_a_student_that_is_its_teacher_agrees_with_it() -> None:
    torch.manual_seed(0)
    config = replace(SONATA, mask_jitter=0.0)
    objective = JointObjective(SMALL.replace(shuffle_orders=False), config)
    batch = collate([small_sample(0)])
    masked = objective.draw_masks(batch, replace(SETTINGS, mask_ratio=0.0))
    same = objective.losses(batch, masked, None, teacher_temperature=0.05)
    assert not masked.rows.any()
    assert same.agreement > compare(small_objective(config=SONATA), [small_sample(0)]).agreement


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        (None, InputError, "give the image encoder's features"),
        (torch.zeros(3, PATCHES, 12), InputError, "for 2 images it must be"),
        (torch.zeros(2, PATCHES, 13), ConfigError, "Set image_width=13"),
        (torch.zeros(2, PATCHES + 1, 12), InputError, "without class or register tokens"),
    ],
)
def test_features_that_do_not_fit_the_images_are_refused(
    features: Tensor | None, error: type[Exception], message: str
) -> None:
    batch: Batch = collate([small_sample(0, images=2)])
    with pytest.raises(error, match=message):
        small_objective()(batch, features, SETTINGS)


@pytest.mark.parametrize(
    "values",
    [
        {"unmask_weight": -1.0},
        {"mask_weight": 0.0, "roll_mask_weight": 0.0, "unmask_weight": 0.0},
        {"prototypes": 1},
        {"match_radius": 0.0},
        {"image_up_cast": 5},
        {"image_views": "second"},
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        JointObjective(ENCODER, replace(ObjectiveConfig(), **values))


def test_an_encoder_without_a_mask_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="mask token"):
        JointObjective(ENCODER.replace(mask_token=False), CONFIG)
