"""Heads read a hierarchy; the decoder is the published one by names, shapes and count."""

from __future__ import annotations

import pytest
import torch

from concerto import Concerto, ConcertoConfig, ConfigError, Segmenter, SegmenterConfig
from concerto.checkpoints import head_tensor_names
from concerto.encoder import cpu
from concerto.heads import DecoderConfig, KnnConfig, LinearConfig, make_head
from concerto.heads.instances import group_voxels
from concerto.heads.knn import KnnHead
from conftest import SMALL, random_cloud, relative_l2

DECODER = DecoderConfig(depths=(1, 2, 1, 1), channels=(8, 16, 16, 24), heads=(1, 2, 2, 3))


@pytest.mark.parametrize("stages", [(0, 1, 2, 3, 4), (1, 3), (2,)])
def test_the_linear_head_is_a_product_with_concatenated_features(
    stages: tuple[int, ...], model: Concerto
) -> None:
    head = make_head(LinearConfig(stages), SMALL, 6)
    hierarchy = model.hierarchy([random_cloud(300), random_cloud(200, seed=1)])
    features = torch.cat(hierarchy.features(stages, at="voxels"))
    torch.testing.assert_close(head(hierarchy), head.linear(features), rtol=1e-4, atol=1e-5)


def test_the_published_decoder_has_these_names_shapes_and_this_many_parameters() -> None:
    base = ConcertoConfig.preset("base")
    with torch.device("meta"):
        state = make_head(DecoderConfig(), base, 20).state_dict()
    names = dict(head_tensor_names(DecoderConfig().depths, qkv_bias=True))
    assert {f"head.{name}" for name in state} == set(names.values())
    shapes = {
        theirs: tuple(state[ours.removeprefix("head.")].shape) for theirs, ours in names.items()
    }
    assert shapes["dec.dec3.up.proj.0.weight"] == (384, 512)
    assert shapes["dec.dec3.up.proj_skip.0.weight"] == (384, 384)
    assert shapes["dec.dec0.up.proj.0.weight"] == (64, 96)
    assert shapes["dec.dec0.up.proj_skip.1.bias"] == (64,)
    assert shapes["dec.dec0.block1.attn.qkv.weight"] == (192, 64)
    assert shapes["dec.dec2.block0.cpe.0.weight"] == (192, 3, 3, 3, 192)
    assert shapes["seg_head.weight"] == (20, 64)
    # arXiv 2503.16429, table of parameters: 16.3 M of 124.8 M are the decoder's.
    count = sum(tensor.numel() for tensor in state.values())
    assert round(count / 1e6, 1) == 16.3
    with torch.device("meta"):
        encoder = sum(tensor.numel() for tensor in Concerto(base).parameters())
    assert round((count + encoder) / 1e6, 1) == 124.8


def test_the_decoder_begins_as_published_and_its_last_map_as_torch_has_it() -> None:
    head = make_head(DecoderConfig(), ConcertoConfig.preset("small"), 20)
    weights = {n: p for n, p in head.named_parameters() if p.ndim > 1}
    last = weights.pop("linear.weight")
    assert all(weight.std().item() == pytest.approx(0.02, rel=0.1) for weight in weights.values())
    assert last.std().item() == pytest.approx((3 * last.shape[1]) ** -0.5, rel=0.1)


def test_a_scene_is_decoded_as_if_alone_and_the_same_with_and_without_gradients(
    model: Concerto,
) -> None:
    torch.manual_seed(0)
    head = make_head(DECODER, SMALL, 6).eval()
    one, other = random_cloud(400), random_cloud(300, seed=1)
    together = head(model.hierarchy([one, other]))
    alone = head(model.hierarchy(one))
    assert relative_l2(together[: len(alone)], alone) < 1e-5
    with torch.no_grad():
        assert relative_l2(head(model.hierarchy(one)), alone) < 1e-5


def test_all_of_the_decoder_learns_and_training_follows_its_seeds(model: Concerto) -> None:
    head = make_head(DECODER, SMALL.replace(drop_path=0.3), 6).train()
    hierarchy = model.hierarchy(random_cloud(400))
    first, again, other = (head(hierarchy, torch.tensor([seed])) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    first.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize(
    ("config", "trouble"),
    [
        (DecoderConfig(depths=(2, 2, 2)), "3 depths, 4 channels and 4 heads"),
        (DecoderConfig(heads=(5, 6, 12, 24)), "5 heads cannot share"),
        (LinearConfig((0, 5)), r"stages \(0, 5\); the encoder has 0 to 4"),
        (KnnConfig(rows=3, stages=()), r"stages \(\)"),
    ],
)
def test_a_head_that_does_not_fit_the_encoder_is_refused(config: object, trouble: str) -> None:
    with pytest.raises(ConfigError, match=trouble):
        make_head(config, SMALL, 6)


@pytest.mark.parametrize(
    ("kind", "fields", "trouble"),
    [
        (LinearConfig, {"stages": (1, 1)}, r"stages is \(1, 1\); name each .* once"),
        (LinearConfig, {"stages": "ab"}, "stages is 'ab'; it must be a sequence of integers from"),
        (LinearConfig, {"stages": ["a"]}, r"stages is \['a'\]"),
        (LinearConfig, {"stages": 3}, "stages is 3"),
        (LinearConfig, {"stages": [0.5]}, r"stages is \[0\.5\]"),
        (LinearConfig, {"stages": (-1,)}, r"stages is \(-1,\)"),
        (DecoderConfig, {"depths": "abcd"}, "depths is 'abcd'"),
        (DecoderConfig, {"depths": (2, 2, 2, -1)}, "depths is .*integers from 0 on"),
        (DecoderConfig, {"channels": (64, 96, 192, 0)}, "channels is .*integers from 1 on"),
        (DecoderConfig, {"heads": (4, 6, 12, 24.0)}, "heads is "),
        (KnnConfig, {"rows": -1}, "rows is -1; it must be an integer from 0 on"),
        (KnnConfig, {"rows": "a"}, "rows is 'a'"),
        (KnnConfig, {"rows": 3, "neighbors": 0}, "neighbors is 0"),
        (KnnConfig, {"rows": 3, "stages": (2, 2)}, "name each .* once"),
        (KnnConfig, {"rows": 3, "temperature": 0.0}, "temperature is 0.0; it must be positive"),
        (KnnConfig, {"rows": 3, "temperature": "warm"}, "temperature is 'warm'; it must be a fin"),
    ],
)
def test_a_head_of_impossible_fields_is_refused(kind: type, fields: dict, trouble: str) -> None:
    with pytest.raises(ConfigError, match=trouble):
        kind(**fields)


def test_touching_voxels_that_are_alike_are_one_thing(model: Concerto) -> None:
    # Two lines of voxels with a gap between them, and a single voxel far off.
    lines = torch.tensor([[0.02 * k + 0.01, 0.01, 0.01] for k in [*range(8), *range(11, 16), 90]])
    hierarchy = model.hierarchy(lines)
    order = hierarchy.voxel_of_point
    classes = torch.zeros(len(lines), dtype=torch.int64)
    things = group_voxels(hierarchy, classes, similarity=-1.0, min_points=2)[order]
    assert things.tolist() == [0] * 8 + [1] * 5 + [-1]
    classes[order[:3]] = 1
    things = group_voxels(hierarchy, classes, similarity=-1.0, min_points=2)[order]
    assert things.tolist() == [2] * 3 + [0] * 5 + [1] * 5 + [-1]
    apart = group_voxels(hierarchy, classes, similarity=1.1, min_points=1)
    assert sorted(apart.tolist()) == list(range(len(lines)))


@pytest.mark.parametrize("products", [True, False])
def test_a_segmenter_refuses_them_whatever_it_multiplies_in(
    products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "has_products", lambda dtype: products)
    names = tuple(f"class {number}" for number in range(512))
    config = SegmenterConfig(SMALL, KnnConfig(rows=512), names)
    with pytest.raises(ConfigError, match=r"numbers of 512 classes.*float32"):
        Segmenter(config).eval().to(torch.bfloat16)(random_cloud(50))


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 257), (torch.float16, 2049)])
def test_more_classes_than_a_precision_can_number_are_refused_not_mixed_up(
    dtype: torch.dtype, most: int
) -> None:
    for classes in (most, most + 1):
        head = KnnHead(KnnConfig(rows=1, neighbors=1), 4, classes)
        head.features.fill_(0.5)
        head.labels.fill_(classes - 1)
        head = head.to(dtype)
        if classes > most:
            with pytest.raises(ConfigError, match=r"numbers of \d+ classes.*float32"):
                head.votes(torch.ones(1, 4))
        else:
            assert head.votes(torch.ones(1, 4)).argmax() == classes - 1
