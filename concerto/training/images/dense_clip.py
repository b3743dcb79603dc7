"""What a CLIP image tower says of each patch, in the space where its texts live.

CLIP was trained to describe whole images. Its last block mixes all patches into the one vector that
was trained; the value path leaves that mixing out, so that each patch keeps to itself and still
lands in the joint space (MaskCLIP, arXiv 2112.01071, section 3.2).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from concerto.errors import ConfigError
from concerto.open_clip_models import load_clip
from concerto.training.images.teacher import GridTeacher, ImageTeacher
from concerto.training.images.towers import tile_of


def dense_clip(name: str, image_size: int | None = None) -> ImageTeacher:
    """A frozen teacher of patch features in the joint space of a model of open_clip's.

    name: as `load_clip` takes it. image_size: positions are interpolated to it once, here; by
    default the model's own.

    Raises ConfigError where there is no such model, or none of the towers known here.
    """
    options = {} if image_size is None else {"force_image_size": image_size}
    open_clip, model, _ = load_clip(name, "image tower", **options)
    config = open_clip.get_model_preprocess_cfg(model)
    size = config["size"] if isinstance(config["size"], int) else min(config["size"])
    tower = _value_path(model.visual, name)
    return GridTeacher(tower, size, config["mean"], config["std"], tile_of(model.visual))


class TransformerValues(nn.Module):
    """The value path of a vision transformer: (I, 3, S, S) → (I, h·h, D)."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual
        self.before = len(visual.transformer.resblocks) - 2

    def forward(self, images: Tensor) -> Tensor:
        visual = self.visual
        # Attention left out, the last block works on each patch alone, and needs no class token.
        found = visual.forward_intermediates(
            images,
            indices=[self.before],
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
        )
        x: Tensor = found["image_intermediates"][-1]
        block = visual.transformer.resblocks[-1]
        x = x + block.ls_1(_values(block.attn, block.ln_1(x)))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
        x = visual.ln_post(x)
        return x if visual.proj is None else x @ visual.proj


class ResNetValues(nn.Module):
    """The value path of CLIP's ResNets, whose last layer pools by attention: → (I, D, h, h)."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        visual, pool = self.visual, self.visual.attnpool
        x = visual.stem(images)
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = layer(x)
        joint: Tensor = pool.c_proj(pool.v_proj(x.permute(0, 2, 3, 1)))
        return joint.permute(0, 3, 1, 2)


def _value_path(visual: Any, name: str) -> nn.Module:
    blocks: Any = getattr(getattr(visual, "transformer", None), "resblocks", ())
    pooled = getattr(visual, "attn_pool", None) is not None
    if len(blocks) > 1 and not pooled and isinstance(blocks[-1].attn, nn.MultiheadAttention):
        return TransformerValues(visual)
    if hasattr(visual, "attnpool") and hasattr(visual.attnpool, "v_proj"):
        return ResNetValues(visual)
    raise ConfigError(
        f"{name} has an image tower without a value path known here: it must be one of open_clip's "
        "own vision transformers without attention pooling, or a ResNet of CLIP's. Give dense "
        "features of another kind as --image-features module:attribute."
    )


def _values(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """What each token would give to those that attend to it alone."""
    width = attention.embed_dim
    bias = attention.in_proj_bias
    values = F.linear(
        x, attention.in_proj_weight[2 * width :], None if bias is None else bias[2 * width :]
    )
    return F.linear(values, attention.out_proj.weight, attention.out_proj.bias)
