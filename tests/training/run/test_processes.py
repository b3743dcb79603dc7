from types import SimpleNamespace
from typing import Any

import pytest

from concerto.errors import ConcertoWarning, ConfigError
from concerto.training.run.processes import check_distribution


def set_up(kind: str, fsdp2: bool = False) -> Any:
    """What accelerate says of how it was set up."""
    return SimpleNamespace(distributed_type=SimpleNamespace(value=kind), is_fsdp2=fsdp2)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [("DEEPSPEED", "Choose DDP"), ("FSDP", "fsdp_version: 2"), ("XLA", "Choose DDP")],
)
def test_what_training_cannot_do_is_refused_with_what_it_can(kind: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        check_distribution(set_up(kind))


@pytest.mark.parametrize(
    ("variables", "warning"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "holds the whole module"),
        ({"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1"}, "torchrun --nproc-per-node"),
    ],
)
def test_what_accelerate_leaves_undone_is_told(
    variables: dict[str, str], warning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.warns(ConcertoWarning, match=warning):
        check_distribution(set_up("NO"))


@pytest.mark.parametrize(("kind", "fsdp2"), [("NO", False), ("MULTI_GPU", False), ("FSDP", True)])
def test_what_training_can_do_passes_without_a_word(
    kind: str, fsdp2: bool, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    check_distribution(set_up(kind, fsdp2))
    assert not recwarn.list
