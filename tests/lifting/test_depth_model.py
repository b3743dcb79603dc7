"""transformers' depth models as geometry, with real architectures and random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

import concerto
from command import run_here
from concerto import DepthModel
from concerto.errors import InputError
from concerto.lifting.video_file import decoded, video_writer
from conftest import GOLDEN
from recordings import CAMERA, frames

transformers = pytest.importorskip("transformers")
FRAMES = frames()[:2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Depth Anything for metres."""
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14,
        out_indices=[1, 2], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=16,
        reassemble_factors=[2, 1],
        neck_hidden_sizes=[8, 8], fusion_hidden_size=8, head_hidden_size=8,
        depth_estimation_type="metric", max_depth=4,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("depth")
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    processor = transformers.DPTImageProcessor(
        size={"height": 56, "width": 56}, ensure_multiple_of=14, keep_aspect_ratio=True
    )
    processor.save_pretrained(folder)
    return folder


def test_depths_have_the_images_size_and_fit_the_poses_given(folder: Path) -> None:
    images = [frame.color for frame in FRAMES]
    views = DepthModel(str(folder))(images, [CAMERA] * 2, [frame.pose for frame in FRAMES])
    assert views.metric
    for depth in views.depths:
        assert depth.shape == (72, 96)
        assert depth.dtype == np.float32
        assert 0 < depth.mean() <= 4
    cloud = concerto.lift(
        images, None, CAMERA, [frame.pose for frame in FRAMES], geometry=DepthModel(str(folder))
    )
    assert len(cloud) > 100


@pytest.fixture(scope="module")
def zoe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ZoeDepth, whose processor pads images."""
    torch.manual_seed(0)
    backbone = transformers.BeitConfig(
        image_size=64, patch_size=16, hidden_size=16, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=32, out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
        use_relative_position_bias=True,
    )  # fmt: skip
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8,
        bottleneck_features=8, num_attractors=[2, 2, 1, 1], bin_embedding_dim=8,
        bin_configurations=[{"name": "nyu", "n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("zoe")
    transformers.ZoeDepthForDepthEstimation(config).save_pretrained(folder)
    transformers.ZoeDepthImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def test_a_model_that_pads_images_gives_depths_of_their_size(zoe: Path) -> None:
    (depth,) = DepthModel(str(zoe))([FRAMES[0].color], [CAMERA], [FRAMES[0].pose]).depths
    assert depth.shape == (72, 96)
    assert 0 < depth.mean() <= 10


def test_a_video_without_depth_is_lifted_and_painted_with_bars(
    folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    film, out = tmp_path / "film.mp4", tmp_path / "out.mp4"
    with video_writer(film, 10) as written:
        for frame in FRAMES:
            written.add(frame.color)
    np.savetxt(tmp_path / "poses.txt", np.stack([frame.pose for frame in FRAMES]).reshape(-1, 16))
    given = ("--poses", tmp_path / "poses.txt", "--intrinsics", *CAMERA.values)
    process = run_here("video", film, "-o", out, "--model", GOLDEN, "--depth-model", folder, *given)
    for bar in ("finding depth", "lifting", "painting"):
        assert f"{bar}: 100%" in process.stderr
    assert len(list(decoded(out))) == len(FRAMES)


def test_poses_that_are_missing_are_asked_for(folder: Path) -> None:
    with pytest.raises(InputError, match="pass intrinsics and poses"):
        concerto.lift([FRAMES[0].color], geometry=DepthModel(str(folder)))
    with pytest.raises(InputError, match="counts differ: 2 frames, 1 poses"):
        concerto.lift(
            [frame.color for frame in FRAMES], None, CAMERA, [FRAMES[0].pose],
            geometry=DepthModel(str(folder)),
        )  # fmt: skip


def test_a_model_without_a_scale_or_a_place_is_refused(folder: Path, tmp_path: Path) -> None:
    config = (folder / "config.json").read_text().replace('"metric"', '"relative"')
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match="inverse depth of unknown scale"):
        DepthModel(str(tmp_path))
    plain = transformers.DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=16, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    transformers.DPTForDepthEstimation(plain).save_pretrained(tmp_path / "midas")
    transformers.DPTImageProcessor().save_pretrained(tmp_path / "midas")
    with pytest.raises(InputError, match="midas tells inverse depth of unknown scale"):
        DepthModel(str(tmp_path / "midas"))
    with pytest.raises(InputError, match="Cannot load the depth model"):
        DepthModel(str(tmp_path / "nowhere"))
