"""What the colours of features promise."""

import numpy as np
import pytest
import torch

from concerto import pca_colors
from concerto.errors import InputError
from concerto.visualize import pca
from concerto.visualize.pca import CHUNK


def spread(rows: int, channels: int = 5) -> torch.Tensor:
    """Features that vary most along the first channels, each half as much as the one before."""
    features = torch.randn(rows, channels, generator=torch.Generator().manual_seed(0))
    return features * 0.5 ** torch.arange(channels)


def test_colours_follow_the_three_main_directions_of_variation() -> None:
    features = spread(4000)
    colors = pca_colors(features)
    assert (colors.dtype, colors.shape) == (torch.float32, (4000, 3))
    assert (colors.amin(), colors.amax()) == (0, 1)
    inside = ((colors > 0) & (colors < 1)).all(1)
    assert inside.float().mean() > 0.9
    for channel in range(3):
        pair = np.stack([features[inside, channel], colors[inside, channel]])
        assert abs(np.corrcoef(pair)[0, 1]) > 0.99


def test_a_direction_that_does_not_vary_is_grey() -> None:
    assert (pca_colors(torch.ones(9, 4)) == 0.5).all()
    assert (pca_colors(spread(50, 2))[:, 2] == 0.5).all()


def test_large_scans_are_coloured_in_parts_as_if_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features = spread(1000)
    at_once = pca_colors(features)
    monkeypatch.setattr(pca, "CHUNK", 64)
    assert torch.allclose(pca_colors(features), at_once, atol=1e-6)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(5), r"shape \(5,\); it must be \(N, C\)"),
        (torch.zeros(0, 3), r"shape \(0, 3\)"),
        ([torch.zeros(5, 3)], "is a list, one entry a scene"),
        (np.array([["a", "b", "c"]]), "must hold real numbers"),
    ],
)
def test_what_is_no_table_of_features_is_refused(features: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pca_colors(features)


def test_arrays_are_coloured_however_they_lie_in_memory() -> None:
    features = spread(50).numpy()
    wanted = pca_colors(features)
    assert torch.equal(pca_colors(features.astype(">f4")), wanted)
    assert torch.equal(pca_colors(features[::-1].copy()[::-1]), wanted)


@pytest.mark.parametrize("row", [0, CHUNK + 3])
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_features_that_are_not_finite_are_refused_wherever_they_stand(
    row: int, value: float
) -> None:
    features = spread(CHUNK + 9)
    features[row, 2] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        pca_colors(features)
