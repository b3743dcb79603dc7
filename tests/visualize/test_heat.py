"""What the colours of one number a point promise."""

import pytest
import torch

from concerto.errors import InputError
from concerto.visualize.heat import RAMP, heat_colors


@pytest.mark.parametrize("scale", [1e-30, 1.0, 3e38])
def test_the_largest_is_bright_and_the_smallest_dark(scale):
    colors = heat_colors(torch.linspace(-1, 1, 101) * scale)
    assert torch.allclose(colors[[0, -1]], torch.tensor([RAMP[0], RAMP[-1]]), atol=1e-5)
    assert colors.min() >= 0
    assert colors.max() <= 1


def test_equal_values_have_one_colour():
    assert len(heat_colors(torch.full((5,), 0.3)).unique(dim=0)) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.tensor([0, torch.nan]), "NaN or infinite"),
        (torch.tensor([0, -torch.inf]), "NaN or infinite"),
        (torch.tensor([0, 1e300], dtype=torch.float64), "NaN or infinite in float32"),
        (torch.zeros(0), r"shape \(0,\); it must be \(N,\)"),
        (torch.zeros(5, 1), r"shape \(5, 1\)"),
    ],
)
def test_what_has_no_place_on_the_ramp_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        heat_colors(values)
