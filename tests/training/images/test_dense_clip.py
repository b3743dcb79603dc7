"""Dense features of CLIP's towers: each patch speaks for itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from concerto.errors import ConfigError
from concerto.training.images.dense_clip import dense_clip
from small_clip import WIDTH, small_clip


def test_the_value_path_is_the_tower_with_each_patch_attending_to_itself(tmp_path: Path) -> None:
    name = small_clip(tmp_path)
    teacher = dense_clip(name)
    assert (teacher.patch_size, teacher.width, teacher.image_size) == (8, WIDTH, 32)
    visual = teacher.module.visual
    images = torch.rand(2, 3, 32, 32)
    given = teacher(images)
    block = visual.transformer.resblocks[-1]
    alone = torch.full((17, 17), -torch.inf).fill_diagonal_(0)
    with torch.no_grad():
        x = visual._embeds((images - teacher.mean) / teacher.std)
        x = visual.transformer.resblocks[0](x)
        x = visual.ln_post(block(x, attn_mask=alone))[:, 1:] @ visual.proj
    torch.testing.assert_close(given, x, atol=1e-5, rtol=1e-4)


def test_a_size_that_patches_do_not_tile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patches of 8 pixels, which do not tile 63x63"):
        dense_clip(small_clip(tmp_path), 63)


def test_resnets_have_a_value_path_too(tmp_path: Path) -> None:
    import open_clip

    small_clip(tmp_path)
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 32}
    text = {"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": WIDTH, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "tiny-resnet-of-tests.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-resnet-of-tests.json")
    model = open_clip.create_model("tiny-resnet-of-tests")
    torch.save(model.state_dict(), tmp_path / "resnet.pt")
    teacher = dense_clip(f"tiny-resnet-of-tests/{tmp_path / 'resnet.pt'}")
    assert teacher(torch.rand(1, 3, 64, 64)).shape == (1, 4, WIDTH)
