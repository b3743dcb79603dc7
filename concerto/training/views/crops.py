"""A sample → its views: two global crops, several local ones, and the images that see the first.

Values are the published ones of the Concerto recipe (arXiv 2510.23607). Unlike the published code,
a view keeps one point a voxel of its augmented coordinates, since the encoder takes no two; which
one, the seed decides. Rows keep together: `origin_coord`, and `pixels`, follow the same choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from concerto.errors import ConfigError
from concerto.training.scenes.check_sample import check_sample
from concerto.training.scenes.samples import Sample, SampleViews, View
from concerto.training.views.augment import augment_color, augment_geometry, drop
from concerto.training.views.cells import one_a_cell
from concerto.training.views.images import augment_images, fit_image, patches_of_pixels


@dataclass(frozen=True)
class ViewConfig:
    """What the views of a sample are."""

    grid_size: float = 0.02
    """Voxel edge in metres, after scaling, of the sample and of each view."""
    most_points: int = 65_536
    """Points of the principal view; sizes of others are shares of this, or of all points
    where the sample has fewer."""
    second_size: tuple[float, float] = (0.4, 1.0)
    """Least and largest share of the second global view; of both where use_images is off."""
    local_views: int = 4
    """Number of local views."""
    local_size: tuple[float, float] = (0.1, 0.4)
    """Least and largest share of each local view."""
    drops: bool = True
    """Drop colours and normals, of all points or of some."""
    use_images: bool = True
    """Whether samples bring their images. Where they do not, the principal view is anywhere in the
    scene, and as large as the second, as Sonata's."""
    augment_images: bool = True
    """Change colours and sharpness of images; off where a teacher's features are kept."""
    image_size: int = 518
    """Side in pixels of the images."""
    patch_size: int = 14
    """Side in pixels of the image encoder's patches."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        for name in ("grid_size", "most_points", "local_views", "image_size", "patch_size"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive.")
        for name in ("second_size", "local_size"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ConfigError(f"{name} is {low}, {high}; shares lie in 0 … 1, least first.")
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"image_size is {self.image_size}; it must be a multiple of the patches' "
                f"{self.patch_size} pixels."
            )

    @property
    def patches(self) -> int:
        """Patches along each side of an image."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class _Cloud:
    """A sample, one point a voxel, as `augment` takes it: coord, color (0-1) and normal are
    (3, n) float32. patches: (n, I, 2), as in `SampleViews.pixels`."""

    coord: np.ndarray
    color: np.ndarray
    normal: np.ndarray
    patches: np.ndarray


def make_views(sample: Sample, config: ViewConfig, seed: int) -> SampleViews:
    """The views of a sample; the same seed gives the same bits.

    Raises InputError, naming the sample, where it cannot be used: see `check_sample`.
    """
    if not config.use_images:
        sample = replace(sample, images=(), seen=())
    check_sample(sample, config.grid_size, config.patches)
    # One stream for each part, so that none depends on how much another draws.
    streams = np.random.SeedSequence(seed).spawn(6 + config.local_views)
    for_cloud, for_crops, for_color, for_images, *for_views = map(np.random.default_rng, streams)

    cloud = _thin(sample, config, for_cloud)
    principal_rows, second_rows, *crops = _crops(cloud, config, for_crops)
    shared = augment_color(cloud.color, for_color)
    made = []
    for rows, random in zip((principal_rows, second_rows), for_views[:2], strict=True):
        made.append(_view(cloud, rows, shared.take(rows, 1), config.grid_size, random))
    for rows, random in zip(crops, for_views[2:], strict=True):
        color = augment_color(cloud.color.take(rows, 1), random)
        made.append(_view(cloud, rows, color, config.grid_size, random))

    (principal, kept), (second, _), *local = made
    seeing = np.any(cloud.patches[kept, :, 0] >= 0, axis=0).nonzero()[0]
    patches = cloud.patches[:, seeing]
    return SampleViews(
        name=sample.name,
        seed=seed,
        principal=principal,
        second=second,
        local=tuple(view for view, _ in local),
        images=_images([sample.images[i] for i in seeing], config, for_images),
        pixels=tuple(torch.from_numpy(patches[rows]) for _, rows in made),
    )


def _thin(sample: Sample, config: ViewConfig, random: np.random.Generator) -> _Cloud:
    """One point a voxel, with dropped colours and normals."""
    coord = sample.coord.T.astype(np.float32, order="C")
    rows = one_a_cell(_cells(coord, config.grid_size), random)
    color = sample.color.take(rows, 0).T.astype(np.float32, order="C") / 255
    normal = sample.normal.take(rows, 0).T.astype(np.float32, order="C")
    if config.drops:
        color, normal = drop(color, random), drop(normal, random)
    row_of_point = np.full(len(sample.coord), -1)
    row_of_point[rows] = np.arange(len(rows))
    patches = np.full((len(rows), len(sample.images), 2), -1, np.float32)
    for number, (image, seen) in enumerate(zip(sample.images, sample.seen, strict=True)):
        seen = seen[row_of_point[seen[:, 2]] >= 0]
        height, width = image.shape[:2]
        places = patches_of_pixels(seen[:, :2], height, width, config.patches)
        inside = places[:, 0] >= 0
        patches[row_of_point[seen[inside, 2]], number] = places[inside]
    return _Cloud(coord.take(rows, 1), color, normal, patches)


def _crops(cloud: _Cloud, config: ViewConfig, random: np.random.Generator) -> list[np.ndarray]:
    """Rows of the principal, the second, and the local views."""
    coord = cloud.coord
    size = most = min(config.most_points, coord.shape[1])
    if config.use_images:
        center = _center(cloud, random)
    else:
        center = coord[:, random.integers(coord.shape[1])]
        size = int(random.uniform(*config.second_size) * most)
    principal = nearest(coord, center, size)

    size = int(random.uniform(*config.second_size) * most)
    crops = [principal, nearest(coord, coord[:, random.choice(principal)], size)]
    covered = np.zeros(coord.shape[1], bool)
    for _ in range(config.local_views):
        open_rows = principal[~covered[principal]]
        if not len(open_rows):
            covered[:] = False
            open_rows = principal
        size = int(random.uniform(*config.local_size) * most)
        crops.append(nearest(coord, coord[:, random.choice(open_rows)], size))
        covered[crops[-1]] = True
    return crops


def _center(cloud: _Cloud, random: np.random.Generator) -> np.ndarray:
    """Of the principal view: the mean of what every image sees, else a random point."""
    seen_by_all = np.all(cloud.patches[..., 0] >= 0, axis=1).nonzero()[0]
    if not len(seen_by_all) or not cloud.patches.shape[1]:
        seen_by_all = random.integers(cloud.coord.shape[1], size=1)
    middle = cloud.coord[:, seen_by_all].mean(1, dtype=np.float64)
    center: np.ndarray = middle.astype(np.float32)
    return center


def nearest(coord: np.ndarray, center: np.ndarray, size: int) -> np.ndarray:
    """Which of the points (3, n) are the `size` nearest to `center`, at least one and at most all.

    Rows ascend; of points equally far the first count, whatever the order a partition leaves.
    """
    size = max(size, 1)
    if size >= coord.shape[1]:
        return np.arange(coord.shape[1])
    x, y, z = coord - center[:, None]
    distance = x * x + y * y + z * z
    bound = np.partition(distance, size - 1)[size - 1]
    inside = distance < bound
    ties = np.flatnonzero(distance == bound)
    inside[ties[: size - np.count_nonzero(inside)]] = True
    return np.flatnonzero(inside)


def _view(
    cloud: _Cloud,
    rows: np.ndarray,
    color: np.ndarray,
    grid_size: float,
    random: np.random.Generator,
) -> tuple[View, np.ndarray]:
    """The view of some rows with the colours given, and the rows of the cloud that it keeps."""
    origin = cloud.coord.take(rows, 1)
    coord, normal = augment_geometry(origin, cloud.normal.take(rows, 1), random)
    cells = _cells(coord, grid_size)
    kept = one_a_cell(cells, random)
    columns = torch.from_numpy(np.concatenate([coord, color, normal, origin]).take(kept, 1))
    view = View(
        feat=columns[:9].T.contiguous(),
        grid_coord=cells[torch.from_numpy(kept)],
        origin_coord=columns[9:].T.contiguous(),
    )
    return view, rows[kept]


def _cells(coord: np.ndarray, grid_size: float) -> Tensor:
    """The voxel (n, 3) int64 of each of the points (3, n), from the least coordinates."""
    cells = (coord - coord.min(1, keepdims=True)) / np.float32(grid_size)
    return torch.from_numpy(cells.astype(np.int64)).T


def _images(images: list[np.ndarray], config: ViewConfig, random: np.random.Generator) -> Tensor:
    """(I, 3, H, W) float32 in 0-1."""
    size = config.image_size
    if not images:
        return torch.zeros(0, 3, size, size)
    fitted = torch.stack([fit_image(image, size, config.patches) for image in images])
    return augment_images(fitted, random) if config.augment_images else fitted
