"""Images as an image teacher takes them, and where pixels lie in its grid of patches.

An image is cut to the largest centred square whose side is a whole multiple of the patches a side,
then resized: so a patch covers whole pixels of the source.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

OFFSET, MOST_OFFSET = 0.95, 0.05
BLUR, BLUR_SIGMA, BLUR_KERNEL = 0.5, (0.1, 2.0), 9


def patches_of_pixels(pixels: np.ndarray, height: int, width: int, side: int) -> np.ndarray:
    """Row and column (m, 2) float32 in patches of the centres of pixels (m, 2) x, y of an image.

    side: patches along each side of the square. -1, -1 for pixels that are cut off.
    """
    top, left, step = _square(height, width, side)
    column = (pixels[:, 0] + 0.5 - left) / step
    row = (pixels[:, 1] + 0.5 - top) / step
    outside = (row < 0) | (row >= side) | (column < 0) | (column >= side)
    patches = np.stack([row, column], 1).astype(np.float32)
    patches[outside] = -1
    return patches


def fit_image(image: np.ndarray, size: int, side: int) -> Tensor:
    """The square of an (H, W, 3) uint8 image, as (3, size, size) float32 in 0-1."""
    top, left, step = _square(image.shape[0], image.shape[1], side)
    image = image[top : top + side * step, left : left + side * step]
    if len(image) != size:
        resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
        image = np.asarray(resized)
    return torch.tensor(image).permute(2, 0, 1).float().div_(255).contiguous()


def _square(height: int, width: int, side: int) -> tuple[int, int, int]:
    """Top and left of the square, and the pixels of a patch's side."""
    step = min(height, width) // side
    return (height - side * step) // 2, (width - side * step) // 2, step


def augment_images(images: Tensor, random: np.random.Generator) -> Tensor:
    """Images (I, 3, H, W) in 0-1 of one sample: with p 0.95 one offset of 0 … 0.05 a channel, with
    p 0.5 a Gaussian blur of one sigma in 0.1 … 2 pixels; the same for all of them."""
    if random.random() < OFFSET:
        offset = torch.from_numpy(random.uniform(0, MOST_OFFSET, 3)).float()
        images = (images + offset.view(3, 1, 1)).clamp_(0, 1)
    if random.random() < BLUR:
        images = blur(images, random.uniform(*BLUR_SIGMA))
    return images


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (I, C, H, W) with 9 taps, mirrored at the borders."""
    taps = np.exp(-0.5 * (np.arange(BLUR_KERNEL) - BLUR_KERNEL // 2) ** 2 / sigma**2)
    taps /= taps.sum()
    blurred = torch.empty_like(images)
    # One channel at a time stays in the cache: five times as fast as all at once.
    for channel, out in zip(images.flatten(0, 1), blurred.flatten(0, 1), strict=True):
        reach = BLUR_KERNEL // 2
        padded = F.pad(channel[None], (reach,) * 4, mode="reflect")[0]
        out.copy_(_weigh(_weigh(padded, taps, 0), taps, 1))
    return blurred


def _weigh(image: Tensor, taps: np.ndarray, axis: int) -> Tensor:
    """The weighted sum of neighbours along an axis, without the borders."""
    length = image.shape[axis] - len(taps) + 1
    total = image.narrow(axis, 0, length) * float(taps[0])
    for start, tap in enumerate(taps[1:], 1):
        # Not add_(alpha=), which rounds once or twice depending on how threads share the rows.
        total += image.narrow(axis, start, length) * float(tap)
    return total
