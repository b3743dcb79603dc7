"""Features as colours: their three main directions of variation, as red, green and blue."""

from __future__ import annotations

import torch
from torch import Tensor

from concerto.errors import InputError
from concerto.points.convert import as_tensor

# Enough rows to find directions of variation by; all rows are coloured.
SAMPLE = 2**16
# Rows that are coloured at a time.
CHUNK = 2**16
# The share of rows whose colour may saturate at either end of each channel.
SATURATED = 0.01


def pca_colors(features: Tensor) -> Tensor:
    """Colours (N, 3) float32 in 0-1 for features (N, C): near in feature, near in colour.

    Deterministic: the sign of each direction is chosen so that its largest weight is positive.

    Raises InputError where features are not (N, C), not finite, or no real numbers.
    """
    if isinstance(features, (list, tuple)):
        raise InputError("features is a list, one entry a scene: colour each, or torch.cat them.")
    features = as_tensor(features, "features")
    if features.ndim != 2 or 0 in features.shape:
        raise InputError(f"features has shape {tuple(features.shape)}; it must be (N, C).")
    features = features.detach()
    if not all(torch.isfinite(rows).all() for rows in features.split(CHUNK)):
        raise InputError("features has values that are NaN or infinite.")
    stride = -(-len(features) // SAMPLE)
    sample = features[::stride].cpu().double()  # not every GPU knows float64
    mean = sample.mean(0)
    _, vectors = torch.linalg.eigh((sample - mean).T @ (sample - mean))
    axes = vectors[:, -3:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    middle, axes32 = (v.to(features.device, torch.float32) for v in (mean, axes))
    projected = torch.cat([(rows.float() - middle) @ axes32 for rows in features.split(CHUNK)])
    projected = torch.nn.functional.pad(projected, (0, 3 - projected.shape[1]))
    ordered = ((sample - mean) @ axes).sort(0).values
    margin = int(SATURATED * len(ordered))
    low, high = ordered[margin], ordered[len(ordered) - 1 - margin]
    low, high = (torch.nn.functional.pad(v, (0, 3 - len(v))).to(projected) for v in (low, high))
    span = (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.where(high > low, (projected - low) / span, 0.5).clamp(0, 1)
