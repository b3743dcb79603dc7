"""The cross-modal term: from 3D features alone, say what an image encoder says of each patch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from concerto.encoder import EncodedLevel
from concerto.errors import InputError
from concerto.grids import group_rows

# Factor of the published loss.
SCALE = 10.0


class Hits(NamedTuple):
    """Points that images see: (h,) int64 each, one entry for each point and image.

    point: row of the point. patch: image · patches of an image + row · columns + column.
    """

    point: Tensor
    patch: Tensor


def hits(pixels: Tensor, first_image: Tensor, grid: tuple[int, int]) -> Hits:
    """Which patch each point falls into; a point that several images see falls into several.

    pixels: (n, I, 2) row and column in patches, negative where unseen. first_image: (n,) int64,
    the image that pixels[:, 0] is about. grid: rows and columns of patches in an image.
    """
    rows, columns = grid
    inside = (pixels >= 0).all(2) & (pixels < pixels.new_tensor([rows, columns])).all(2)
    point, number = inside.nonzero(as_tuple=True)
    row, column = pixels[point, number].long().unbind(1)
    image = first_image[point] + number
    return Hits(point, (image * rows + row) * columns + column)


def patch_means(levels: Sequence[EncodedLevel], seen: Hits) -> tuple[Tensor, Tensor]:
    """What is seen of each patch that is hit, and which patches these are (p,).

    levels: the one whose points are seen and, after it, all coarser ones. The features (p, ΣC)
    float32 are means over the points of a patch, of their own and those of what they lie in.
    """
    groups = group_rows(seen.patch)
    patch, row = groups.group, seen.point
    count = torch.bincount(patch, minlength=len(groups.starts))
    share = 1 / count[patch].float()
    means = []
    for level in levels:
        rows = level.feat.index_select(0, row).float() * share[:, None]
        means.append(rows.new_zeros(len(count), rows.shape[1]).index_add(0, patch, rows))
        if level.pooling is not None:
            row = level.pooling.parent[row]
            pairs = group_rows(patch * len(level.pooling.batch) + row)
            # What a patch has several times, as coarse voxels are, counts once, for as much.
            share = share.new_zeros(len(pairs.starts)).index_add(0, pairs.group, share)
            first = pairs.order[pairs.starts]
            patch, row = patch[first], row[first]
    return torch.cat(means, dim=1), seen.patch[groups.order[groups.starts]]


def cosine_losses(given: Tensor, wanted: Tensor) -> Tensor:
    """10 · (1 - cosine) of each pair of rows, each row less its own mean: (p, W), (p, W) → (p,)."""
    given, wanted = given.float(), wanted.float()
    given = given - given.mean(1, keepdim=True)
    wanted = wanted - wanted.mean(1, keepdim=True)
    return SCALE * (1 - F.cosine_similarity(given, wanted, dim=1))


def patch_grid(images: Tensor, patches: int) -> tuple[int, int]:
    """Rows and columns of square patches. images: (I, 3, H, W); patches: of one image.

    Raises InputError where no square patch divides the images into so many.
    """
    height, width = images.shape[2:]
    edge = math.sqrt(height * width / patches)
    rows, columns = round(height / edge), round(width / edge)
    if rows * columns != patches:
        raise InputError(
            f"The image encoder returned {patches} features for an image of {height} x {width} "
            "pixels; they must be those of square patches, without class or register tokens."
        )
    return rows, columns
