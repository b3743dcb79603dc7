"""What a model is: its architecture, and the preprocessing its weights were trained with.

Preprocessing belongs to the checkpoint: the same points mean something else to a model that
was trained on 5 cm LiDAR voxels than to one trained on 2 cm rooms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from concerto.errors import ConfigError
from concerto.fields import check_booleans, check_integers, check_keys, check_numbers

Center = Literal["xyz", "xy", "none"]
PresetName = Literal["small", "base", "large", "tiny"]


@dataclass(frozen=True)
class ConcertoConfig:
    """Architecture of the encoder and preprocessing of its input."""

    channels: tuple[int, ...] = (48, 96, 192, 384, 512)
    """Width of each stage, fine to coarse."""
    depths: tuple[int, ...] = (3, 3, 3, 12, 3)
    """Blocks of each stage."""
    heads: tuple[int, ...] = (3, 6, 12, 24, 32)
    """Attention heads of each stage."""
    patch_size: tuple[int, ...] = (1024, 1024, 1024, 1024, 1024)
    """Points that attend to each other, for each stage."""
    in_channels: int = 9
    """Coordinates, colour, normal: always 9."""
    mlp_ratio: float = 4.0
    """Width of each block's hidden layer over its channels."""
    qkv_bias: bool = True
    """Whether queries, keys and values have a bias."""
    drop_path: float = 0.0
    """Drop rate of the last block's branches, growing linearly from 0; training only."""
    shuffle_orders: bool = True
    """Draw the order of the four curves at random in training; never in inference."""
    mask_token: bool = True
    """Whether the embedding has a learned token for masked points."""
    grid_size: float = 0.02
    """Voxel edge after scaling."""
    coord_scale: float = 1.0
    """Factor on the user's coordinates (metres)."""
    center: Center = "xyz"
    """xyz centres x and y by mid-range and puts z's minimum at 0, before voxels; xy centres x and y
    after voxels and keeps z; none keeps all three."""
    default_stages: tuple[int, ...] = (2, 3, 4)
    """The stages (0 is finest) whose features `model(points)` returns."""
    license: str | None = None
    """Licence of the weights, as a Hub identifier."""
    base_model: str | None = None
    """Hub repo of the published weights that these derive from."""
    untrained: bool = False
    """The weights are an initialisation; loading them warns."""

    def __post_init__(self) -> None:
        """Raises ConfigError where the parts do not fit together."""
        check_booleans(self, "qkv_bias", "shuffle_orders", "mask_token", "untrained")
        check_numbers(self, "grid_size", "coord_scale", "mlp_ratio", "drop_path")
        check_integers(self, "channels", "depths", "heads", "patch_size", "default_stages")
        self._check_stages()
        self._check_scalars()

    @staticmethod
    def preset(name: PresetName) -> ConcertoConfig:
        """The architecture of a published size, or "tiny", the one that ships with the library."""
        if name not in PRESETS:
            raise ConfigError(f"There is no preset {name!r}; the presets are {', '.join(PRESETS)}.")
        return PRESETS[name]

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.channels)

    def replace(self, **changes: Any) -> ConcertoConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields, as config.json holds them."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ConcertoConfig:
        """The inverse of `to_dict`. Raises ConfigError for a key that is not a field."""
        known = {field.name for field in dataclasses.fields(ConcertoConfig)}
        check_keys("The config", values, known, needed=())
        return ConcertoConfig(**cast(dict[str, Any], dict(values)))

    def _check_stages(self) -> None:
        stages = len(self.channels)
        if stages == 0 or not len(self.depths) == len(self.heads) == len(self.patch_size) == stages:
            raise ConfigError(
                "channels, depths, heads and patch_size need one entry a stage; their lengths are "
                f"{stages}, {len(self.depths)}, {len(self.heads)}, {len(self.patch_size)}."
            )
        for stage, (channels, heads) in enumerate(zip(self.channels, self.heads, strict=True)):
            if heads < 1 or channels < 1 or channels % heads:
                raise ConfigError(
                    f"Stage {stage} has {channels} channels, which {heads} heads cannot share."
                )
        if min(self.depths) < 0 or min(self.patch_size) < 1:
            raise ConfigError("depths cannot be negative, and patch_size must be at least 1.")
        bad = [s for s in self.default_stages if not 0 <= s < stages]
        if (
            bad
            or not self.default_stages
            or len(set(self.default_stages)) < len(self.default_stages)
        ):
            raise ConfigError(
                f"default_stages is {self.default_stages}; it must name some of 0 to {stages - 1}, "
                "each once."
            )

    def _check_scalars(self) -> None:
        if type(self.in_channels) is not int or self.in_channels != 9:
            raise ConfigError(
                f"in_channels is {self.in_channels}; every Concerto encoder takes 9: "
                "coordinates, colour, normal."
            )
        for name in ("grid_size", "coord_scale", "mlp_ratio"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be positive.")
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f"drop_path is {self.drop_path!r}; it must lie in [0, 1).")
        if self.center not in get_args(Center):
            raise ConfigError(f'center is {self.center!r}; it must be "xyz", "xy" or "none".')


PRESETS: dict[str, ConcertoConfig] = {
    "small": ConcertoConfig(
        channels=(32, 64, 128, 256, 512), depths=(2, 2, 2, 6, 2), heads=(2, 4, 8, 16, 32)
    ),
    "base": ConcertoConfig(),
    "large": ConcertoConfig(
        channels=(64, 128, 256, 512, 768), depths=(3, 3, 3, 12, 3), heads=(4, 8, 16, 32, 48)
    ),
    "tiny": ConcertoConfig(
        channels=(48, 64, 112, 144, 176),
        depths=(1, 1, 1, 1, 1),
        heads=(3, 4, 7, 9, 11),
        patch_size=(256, 256, 256, 256, 256),
        # A fourth of the others' voxels: as much of a room, at a fourth of the time.
        grid_size=0.04,
        # Down to the voxels, where it learnt what image patches look like.
        default_stages=(0, 1, 2, 3, 4),
    ),
}
