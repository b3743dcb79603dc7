"""Submanifold convolution on a CPU, by the code of `convolution_code`."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from concerto.encoder.kernels.convolution_code import ConvolutionJob, convolution_code, panel_width
from concerto.encoder.kernels.processor import Code, compile_function, this_processor
from concerto.encoder.kernels.threads import floats, integers, run


def serves(channels: int) -> bool:
    """Whether so many channels of results are whole vectors."""
    return channels % this_processor().lanes == 0


def add_neighbors(
    total: Tensor, x: Tensor, weight: Tensor, behind: Tensor, ahead: Tensor, blocks: Tensor
) -> None:
    """total[b] += x[a] · W[:, 14 + o] and total[a] += x[b] · W[:, 12 - o], for pairs (b, a).

    total: (n, C_out), changed in place. x: (n, C_in). weight: (C_out, 27, C_in). All are float32,
    in one piece. behind, ahead: (m,) int64, the pairs of 13 offsets o, one offset after another.
    blocks: (B, 13, 2, 2) int64, where each block's pairs of each offset begin and end, by whether
    the targets are those behind or those ahead; no two blocks have a target in common.
    """
    outputs, _, inputs = weight.shape
    panel = panel_width(outputs, this_processor())
    job = ConvolutionJob(
        tasks=len(blocks) * (outputs // panel),
        scratch_size=panel * inputs,
        panels=outputs // panel,
        inputs=inputs,
        outputs=outputs,
        x=floats(x),
        weight=floats(weight),
        total=floats(total),
        behind=integers(behind),
        ahead=integers(ahead),
        blocks=integers(blocks),
    )
    if len(behind):
        run(_compiled(panel), job)


@lru_cache
def _compiled(panel: int) -> Code:
    return compile_function(convolution_code(panel, this_processor()))
