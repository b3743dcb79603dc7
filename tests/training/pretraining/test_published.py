"""Training checkpoints in the published layout."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import concerto
from concerto import Concerto
from concerto.errors import CheckpointError, ConcertoWarning
from concerto.training.pretraining.objective import JointObjective
from concerto.training.pretraining.published import warm_start, write_training
from conftest import SMALL
from small_batches import CONFIG, small_objective

State = dict[str, Tensor]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A training state whose teacher differs from its student."""
    write_training(small_objective(SMALL), tmp_path / "training.pth")
    return tmp_path / "training.pth"


def fresh(
    prototypes: int = CONFIG.prototypes, image_width: int = CONFIG.image_width
) -> JointObjective:
    torch.manual_seed(1)
    return JointObjective(SMALL, replace(CONFIG, prototypes=prototypes, image_width=image_width))


def rewrite(file: Path, keep: str) -> None:
    """Drop tensors of the file whose names hold `keep`."""
    content = torch.load(file, weights_only=True)
    content["state_dict"] = {k: t for k, t in content["state_dict"].items() if keep not in k}
    torch.save(content, file)


def differing(one: JointObjective, other: JointObjective) -> set[str]:
    """Which parts differ, by the first two components of their tensors' names."""
    state = other.state_dict()
    unequal = [n for n, t in one.state_dict().items() if not torch.equal(t, state[n])]
    return {".".join(name.split(".")[:2]) for name in unequal}


def test_a_whole_state_comes_back_bit_for_bit_and_without_a_warning(written: Path) -> None:
    objective = fresh()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warm_start(objective, written)
    assert not differing(objective, small_objective(SMALL))


def test_names_are_the_published_ones(written: Path, shared: Path) -> None:
    golden = torch.load(shared / "golden" / "official_objective.pth", weights_only=True)
    published = {name for name in golden["state_dict"] if not name.startswith("enc2d_head")}
    names = {name.removeprefix("module.") for name in torch.load(written)["state_dict"]}
    blocks = {name for name in published | names if ".block" in name}
    assert names - blocks == published - blocks
    assert any(".block" in name for name in names)


def test_a_state_of_sonata_keeps_the_teachers_two_heads_apart(tmp_path: Path) -> None:
    config = replace(CONFIG, cross_modal_weight=0.0, teacher_unmask_head=True)
    before = small_objective(SMALL, config)
    write_training(before, tmp_path / "training.pth")
    objective = JointObjective(SMALL, config)
    warm_start(objective, tmp_path / "training.pth")
    assert not differing(objective, before)
    head = "teacher.unmask_head.mlp.2.weight"
    written = torch.load(tmp_path / "training.pth", weights_only=True)["state_dict"]
    assert torch.equal(written[f"module.{head}"], before.teacher.unmask_head.fc2.weight)
    assert not torch.equal(written[f"module.{head}"], before.student.unmask_head.fc2.weight)


def test_the_students_encoder_can_be_loaded_alone(written: Path) -> None:
    state = concerto.from_pretrained(written).encoder.state_dict()
    wanted = small_objective(SMALL).student.encoder.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in wanted.items())


def test_an_encoder_alone_starts_both_and_says_that_prototypes_are_new(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = Concerto(SMALL)
    model.save_pretrained(tmp_path)
    objective = fresh()
    with pytest.warns(ConcertoWarning) as record:
        warm_start(objective, tmp_path / "model.safetensors", tmp_path / "config.json")
    messages = [str(warning.message) for warning in record]
    assert "prototypes" in messages[0]
    assert "start high, near 3.2" in messages[0]  # log 24
    assert "projection to an image encoder" in messages[1]
    for encoder in (objective.student.encoder, objective.teacher.encoder):
        assert torch.equal(encoder.embedding.linear.weight, model.encoder.embedding.linear.weight)


def test_without_a_teacher_the_student_teaches(written: Path) -> None:
    rewrite(written, "teacher.backbone")
    objective = fresh()
    warm_start(objective, written)
    assert differing(objective, small_objective(SMALL)) == {"teacher.encoder"}
    student = objective.student.encoder.state_dict()
    teacher = objective.teacher.encoder.state_dict()
    assert all(torch.equal(teacher[name], tensor) for name, tensor in student.items())


def test_heads_of_another_size_stay_new_and_are_told(written: Path) -> None:
    objective = fresh(prototypes=30)
    with pytest.warns(ConcertoWarning, match="near 3.4") as record:
        warm_start(objective, written)
    assert len(record) == 1


def test_a_projection_to_another_image_encoder_stays_new_and_is_told(written: Path) -> None:
    with pytest.warns(ConcertoWarning, match="image encoder of 20 channels") as record:
        warm_start(fresh(image_width=20), written)
    assert len(record) == 1


def test_half_a_head_is_no_head(written: Path) -> None:
    rewrite(written, "student.unmask_head.mlp.2.bias")
    objective = fresh()
    with pytest.warns(ConcertoWarning, match="no projection heads"):
        warm_start(objective, written)
    new = fresh().state_dict()
    for name, tensor in objective.state_dict().items():
        assert "head" not in name or torch.equal(tensor, new[name])


def test_another_architecture_is_refused(written: Path) -> None:
    objective = JointObjective(SMALL.replace(depths=(1, 1, 1, 1, 1)), CONFIG)
    with pytest.raises(CheckpointError, match="no place for"):
        warm_start(objective, written)
