"""Low-rank adapters on the attention of an encoder (LoRA, arXiv 2106.09685), through peft."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from concerto.encoder import PointTransformer
from concerto.errors import ConfigError
from concerto.extras import import_extra
from concerto.segmenter.over import LORA

# Where peft keeps the two factors of the one adapter that is trained.
DOWN, UP = ".lora_A.default.weight", ".lora_B.default.weight"


@dataclass(frozen=True)
class LoraConfig:
    """Adapters of every query, key and value; published values."""

    rank: int = 8
    """Width of an adapter."""
    alpha: float = 16.0
    """What it adds is multiplied by alpha / rank."""
    dropout: float = 0.1
    """How often an adapter's input is dropped in training."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        if self.rank < 1:
            raise ConfigError(f"lora.rank is {self.rank}; an adapter is at least 1 wide.")
        if not self.alpha > 0:
            raise ConfigError(f"lora.alpha is {self.alpha:g}; it must be over 0.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora.dropout is {self.dropout:g}; it must be from 0 to below 1.")

    @property
    def scale(self) -> float:
        """Factor on what an adapter adds."""
        return self.alpha / self.rank


def add_adapters(encoder: PointTransformer, config: LoraConfig) -> None:
    """Put an adapter on each qkv, and let nothing else of the encoder be trained.

    Raises MissingExtraError without peft.
    """
    peft = import_extra("peft", "Adapters", "train")
    chosen = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=["qkv"],
    )
    encoder.requires_grad_(False)
    peft.inject_adapter_in_model(chosen, encoder)


def split_tensors(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An encoder's tensors without its adapters by their own names, and the adapters' by those of
    `merge_adapters`. Names begin with "encoder."."""
    own, adapters = {}, {}
    for name, tensor in state.items():
        if name.endswith(DOWN):
            adapters[LORA + name.removesuffix(DOWN) + ".a"] = tensor
        elif name.endswith(UP):
            adapters[LORA + name.removesuffix(UP) + ".b"] = tensor
        else:
            own[name.replace(".base_layer.", ".")] = tensor
    return own, adapters
