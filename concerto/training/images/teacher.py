"""What every image teacher is: images in, one feature vector a patch out, frozen.

A teacher never trains: it stays in evaluation mode whatever `train()` says, its parameters want no
gradient, and none flows through it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from concerto.errors import ConfigError, InputError

# The patches a side that the published pretraining has: 518 pixels in patches of 14.
GRID = 37
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AUTOCAST = (torch.float32, torch.bfloat16, torch.float16)


class ImageTeacher(nn.Module):
    """A frozen image encoder. A child gives `patches` and says what it computes.

    patch_size: pixels a side of what one vector stands for. width: of a vector. image_size: pixels
    a side of the images it sees best. mean, std: of each channel, by which images are normalised.
    autocast: the dtype to compute in; weights stay as they are. images_at_once: how many images go
    through it together, which bounds its memory.
    """

    autocast: torch.dtype = torch.float32
    images_at_once: int = 16
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        patch_size: int,
        width: int,
        image_size: int,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.patch_size, self.width, self.image_size = patch_size, width, image_size
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def patches(self, images: Tensor) -> Tensor:
        """Features of normalised images: (I, 3, H, W) → (I, rows·cols, width), row by row."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Features of RGB images: (I, 3, H, W) in 0-1 → (I, rows·cols, width) float32, row by row.

        Raises InputError where patches do not tile the images.
        """
        rows, cols = self.grid(images)
        shape = (len(images), rows * cols, self.width)
        if not len(images):
            return images.new_zeros(shape, dtype=torch.float32)
        device, lower = images.device.type, self.autocast != torch.float32
        # Not inference mode: a loss may keep these features for its backward pass.
        with torch.no_grad(), torch.autocast(device, self.autocast, enabled=lower):
            parts = [
                self.patches((part.float() - self.mean) / self.std).float()
                for part in images.split(self.images_at_once)
            ]
        found = torch.cat(parts)
        if found.shape != shape:
            raise ConfigError(
                f"{type(self).__name__} gave features of shape {tuple(found.shape)} for "
                f"{rows} by {cols} patches of {len(images)} images, instead of {shape}."
            )
        return found

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches in images (I, 3, H, W), or InputError."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise InputError(
                f"Images are {images.dtype} of shape {tuple(images.shape)}; an image teacher takes "
                "floats of shape (I, 3, H, W) in 0-1."
            )
        height, width = images.shape[2:]
        if not height or not width or height % self.patch_size or width % self.patch_size:
            raise InputError(
                f"Images are {width}x{height} pixels, which patches of {self.patch_size} do not "
                f"tile. {self._sizes(min(height, width))}"
            )
        return height // self.patch_size, width // self.patch_size

    def set_image_size(self, image_size: int) -> None:
        """Prefer another size, a multiple of the patch; else ConfigError."""
        if image_size < 1 or image_size % self.patch_size:
            raise ConfigError(
                f"image_size is {image_size}, which patches of {self.patch_size} do not tile. "
                f"{self._sizes(image_size)}"
            )
        self.image_size = image_size

    def freeze(self) -> ImageTeacher:
        """Itself, with parameters that want no gradient, in evaluation mode."""
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ImageTeacher:
        """Itself, in evaluation mode all the same."""
        return super().train(False)

    def _sizes(self, near: int) -> str:
        below = max(near // self.patch_size, 1) * self.patch_size
        return f"Use a multiple of {self.patch_size}, such as {below} or {self.image_size}."


class GridTeacher(ImageTeacher):
    """Any module that gives a grid of patches, as a teacher.

    module: (I, 3, S, S) → (I, C, h, h), or (I, h·h, C) row by row without class tokens or
    registers. It gets images in 0-1 less `mean`, over `std`: as they are, where it normalises by
    itself. image_size: the S it is to see. tile: pixels a side of the patches that the module is
    known to cut images into.

    Patch size and width are found by passing one black image through it. Raises ConfigError where
    the module cannot take images of that size, or gives no square grid.
    """

    def __init__(
        self,
        module: nn.Module,
        image_size: int = 448,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        tile: int | None = None,
    ) -> None:
        if tile is not None:
            _check_tiled(type(module).__name__, image_size, tile)
        module.eval()
        side, width = _probe(module, image_size)
        super().__init__(image_size // side, width, image_size, mean, std)
        self.module = module
        self.freeze()

    def patches(self, images: Tensor) -> Tensor:
        """See `ImageTeacher.patches`."""
        found: Tensor = self.module(images)
        return found.flatten(2).mT if found.ndim == 4 else found


def check_autocast(dtype: torch.dtype) -> torch.dtype:
    """The dtype, or ConfigError where no teacher computes in it."""
    if dtype not in AUTOCAST:
        names = ", ".join(str(known).removeprefix("torch.") for known in AUTOCAST)
        raise ConfigError(f"An image teacher computes in {names}, not in {dtype}.")
    return dtype


def _check_tiled(name: str, image_size: int, tile: int) -> None:
    """Raise ConfigError where patches leave a rim of the image out: their number a side may still
    divide it, as 14 patches of 16 do 238 pixels, and be taken for larger ones."""
    if image_size % tile:
        below = max(image_size // tile, 1) * tile
        raise ConfigError(
            f"{name} cuts images into patches of {tile} pixels, which do not tile "
            f"{image_size}x{image_size}. Give an image_size such as {below} or {below + tile}."
        )


def _probe(module: nn.Module, image_size: int) -> tuple[int, int]:
    """Patches a side, and the width of their features."""
    name = type(module).__name__
    device = next((tensor.device for tensor in _tensors(module)), torch.device("cpu"))
    try:
        with torch.no_grad():
            found = module(torch.zeros(1, 3, image_size, image_size, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"{name} does not take images of {image_size}x{image_size} pixels: {reason}. "
            "Give the image_size that it takes."
        ) from error
    shape = tuple(found.shape) if isinstance(found, Tensor) else (type(found).__name__,)
    side = shape[2] if len(shape) == 4 else round(shape[1] ** 0.5) if len(shape) == 3 else 0
    wanted = (1, shape[1], side, side) if len(shape) == 4 else (1, side * side, shape[-1])
    if not side or shape != wanted or image_size % side:
        raise ConfigError(
            f"{name} gives {shape} for an image of {image_size}x{image_size} pixels; an image "
            "teacher gives (I, C, h, w) or (I, h·w, C), with h and w dividing the image's size "
            "and no tokens but the patches'."
        )
    return side, shape[1] if len(shape) == 4 else shape[2]


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
