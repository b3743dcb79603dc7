"""What a run of fine-tuning is: every value of it, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

import tyro

from concerto.encoder import Backend
from concerto.errors import ConfigError
from concerto.heads import DecoderConfig
from concerto.training.finetuning.adapters import LoraConfig
from concerto.training.finetuning.linear_probe import LinearFit
from concerto.training.finetuning.task import Mode
from concerto.training.run.loop import LoopConfig
from concerto.training.views.labelled import LabelledViewConfig

Protocol = Literal["cached", "published"]
# How random weights are asked for, to compare with.
RANDOM = "random:"
# Learning rates published for the base model on ScanNet: of the head, and of blocks. For lora,
# which was published for the large alone, that one's.
RATES = {
    "linear": (0.002, 0.0002),
    "lora": (0.002, 0.0002),
    "decoder": (0.001, 0.0001),
    "full": (0.001, 0.0001),
}
# What decides over steps, of which --protocol cached has none.
OF_STEPS = (
    *("batch_size", "epochs", "max_steps", "accumulate", "precision", "clip_norm", "log_every"),
    *("save_every", "keep", "picture_every", "max_bad_steps"),
)


@dataclass(frozen=True)
class ProbeConfig:
    """Teach an encoder classes, from labelled scenes."""

    encoder: str
    """What to build on: a name of `concerto models`, org/name on the Hub, a folder, a weights
    file; or random:tiny, random:small … for untrained weights."""
    data: tuple[str, ...]
    """Labelled scenes, as `python -m concerto.training.prepare` writes them: folders, or org/name
    of data sets on the Hub."""
    loop: tyro.conf.OmitArgPrefixes[LoopConfig]
    mode: Mode = "linear"
    """linear: a linear map of all stages, the encoder frozen; decoder: a decoder, the encoder
    frozen; full: a decoder, and all trained; lora: a linear map, and adapters in the encoder."""
    protocol: Protocol = "published"
    """cached, for --mode linear alone: features are computed once, and the map is fitted to them
    without augmentation, in minutes on a CPU. published: augmented and mixed scenes, epoch by
    epoch."""
    classes: Annotated[str | None, tyro.conf.arg(metavar="NAME,NAME")] = None
    """Classes to learn, in this order; points of others count as unlabelled. By default those of
    the data."""
    split: str = "train"
    """Which samples of the data."""
    scenes: float = 1.0
    """Share of the scenes to learn from, such as 0.01, 0.05, 0.1, 0.2."""
    labels: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Points a scene that keep their label, such as 20, 50, 100, 200; by default all."""
    lr: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Highest learning rate; by default the one published for the mode with the base model on
    ScanNet."""
    block_lr: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """That of blocks, of encoder and decoder; by default a tenth of the other."""
    weight_decay: float = 0.02
    """Of all that is trained."""
    drop_path: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """How often the last block leaves out a branch in training, earlier ones less; by default what
    the encoder's config says. Published: 0.3."""
    workers: int = 4
    """Processes that prepare scenes, for each process that trains."""
    merge: bool = False
    """With --mode lora: save the encoder with its adapters merged in, not the adapters alone."""
    license: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Licence of the result, as the Hub names it; by default that of the encoder."""
    push_to_hub: Annotated[str | None, tyro.conf.arg(metavar="REPO")] = None
    """Upload the segmenter to this repo, org/name, when it is trained."""
    private: bool = False
    """Make a new repo private."""
    backend: Backend = "torch"
    """Who computes convolutions and pooling; spconv needs CUDA."""
    views: LabelledViewConfig = field(default_factory=LabelledViewConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    fit: LinearFit = field(default_factory=LinearFit)

    def __post_init__(self) -> None:
        """Raises ConfigError where the parts do not fit together."""
        if self.protocol == "cached" and self.mode != "linear":
            raise ConfigError(
                f"--protocol cached computes features once, and --mode {self.mode} needs them anew "
                "in every step. Take --mode linear, or --protocol published."
            )
        if self.merge and self.mode != "lora":
            raise ConfigError("--merge is for --mode lora; other modes have no adapters.")
        if self.protocol == "cached" and not (self.lr is None and self.block_lr is None):
            raise ConfigError(
                "--protocol cached fits the map to the end, without a learning rate: leave "
                "--lr and --block-lr out, or take --protocol published."
            )
        if self.protocol == "cached" and (self.views, self.weight_decay) != (
            LabelledViewConfig(),
            ProbeConfig.weight_decay,
        ):
            raise ConfigError(
                "--protocol cached takes scenes as they are, and chooses its weight decay itself, "
                "from --fit.weight-decays: leave --views.… and --weight-decay out, or take "
                "--protocol published."
            )
        usual = {option.name: option.default for option in fields(LoopConfig)}
        changed = [name for name in OF_STEPS if getattr(self.loop, name) != usual[name]]
        changed += ["tracker"] if self.loop.tracker not in (usual["tracker"], "none") else []
        changed += ["workers"] if self.workers != ProbeConfig.workers else []
        if self.protocol == "cached" and changed:
            raise ConfigError(
                "--protocol cached fits the map to the end, in one go: leave "
                f"--{changed[0].replace('_', '-')} out, or take --protocol published."
            )
        if self.lora != LoraConfig() and self.mode != "lora":
            raise ConfigError("--lora.… is for --mode lora; other modes have no adapters.")
        if self.decoder != DecoderConfig() and self.mode in ("linear", "lora"):
            raise ConfigError(
                f"--decoder.… is for --mode decoder and full; --mode {self.mode} trains a linear "
                "map."
            )
        if self.protocol == "published" and self.fit != LinearFit():
            raise ConfigError(
                "--fit.… is how --protocol cached fits the map; --protocol published has "
                "--lr, --weight-decay and the length of the run."
            )
        if self.drop_path is not None and self.mode == "linear":
            raise ConfigError(
                "--drop-path is for --mode lora, decoder and full; --mode linear trains no blocks."
            )
        if self.drop_path is not None and not 0 <= self.drop_path < 1:
            raise ConfigError(f"--drop-path is {self.drop_path:g}; it must be from 0 to below 1.")
        for name, rate in (("lr", self.lr), ("block-lr", self.block_lr)):
            if rate is not None and not rate > 0:
                raise ConfigError(f"--{name} is {rate:g}; a learning rate is over 0.")
        if not self.weight_decay >= 0:
            raise ConfigError(f"--weight-decay is {self.weight_decay:g}; it must be 0 or more.")
        if self.workers < 0:
            raise ConfigError(f"--workers is {self.workers}; 0 prepares scenes without any.")

    def rates(self) -> tuple[float, float]:
        """The highest learning rates: of all, and of blocks."""
        lr, block_lr = RATES[self.mode]
        if self.lr is not None:
            lr, block_lr = self.lr, self.lr / 10
        return lr, block_lr if self.block_lr is None else self.block_lr
