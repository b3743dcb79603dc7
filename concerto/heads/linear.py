"""The linear probe: one linear map of the concatenated stages, without ever concatenating them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from concerto.heads.configs import LinearConfig
from concerto.hierarchy import Hierarchy


class LinearHead(nn.Module):
    """Hierarchy → logits (n, K) of the finest voxels.

    A product with concatenated features is the sum of the products with each stage's. So each
    stage is mapped at its own voxels, of which a coarse one has few, and only logits are copied
    down.
    """

    def __init__(self, config: LinearConfig, channels: Sequence[int], classes: int) -> None:
        """channels: of each stage of the encoder."""
        super().__init__()
        self.stages = tuple(config.stages)
        self.widths = {stage: channels[stage] for stage in self.stages}
        self.linear = nn.Linear(sum(self.widths.values()), classes)

    def forward(self, hierarchy: Hierarchy) -> Tensor:
        pieces = dict(zip(self.stages, self._pieces(), strict=True))
        logits: Tensor | None = None
        for stage in range(max(self.stages), -1, -1):
            level = hierarchy.levels[stage]
            if logits is not None:
                assert level.parent is not None
                logits = logits.index_select(0, level.parent)
            if stage in pieces:
                own = F.linear(level.feat.to(self.linear.weight.dtype), pieces[stage])
                logits = own if logits is None else logits + own
        assert logits is not None
        return logits + self.linear.bias

    def _pieces(self) -> tuple[Tensor, ...]:
        pieces: tuple[Tensor, ...] = self.linear.weight.split(list(self.widths.values()), dim=1)
        return pieces
