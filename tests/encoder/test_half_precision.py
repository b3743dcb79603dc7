"""Half precision on a processor without products in it: as fast as float32, and as exact."""

import copy

import pytest
import torch
from torch import nn

import concerto
from concerto import Segmenter, SegmenterConfig
from concerto.encoder import PointTransformer, cpu
from concerto.encoder.cpu import at_full_speed, product_dtype
from concerto.encoder.partial import cell_keys, encode_changed, encode_whole
from concerto.heads import DecoderConfig, HeadConfig, KnnConfig, KnnHead, LinearConfig
from conftest import SMALL, random_cloud, relative_l2

HALVES = [torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def _no_products_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "has_products", lambda dtype: False)


@pytest.mark.parametrize("dtype", HALVES)
def test_products_are_in_float32_where_those_in_half_precision_are_slow(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert product_dtype(torch.zeros(1, dtype=dtype)) == torch.float32
    assert product_dtype(torch.zeros(1, dtype=torch.float64)) == torch.float64
    assert product_dtype(torch.zeros(1, dtype=dtype, device="meta")) == dtype
    monkeypatch.setattr(cpu, "has_products", lambda dtype: True)
    assert product_dtype(torch.zeros(1, dtype=dtype)) == dtype


def test_a_module_in_float32_is_itself() -> None:
    layer = nn.Linear(2, 2)
    assert at_full_speed(layer) is layer


@pytest.mark.parametrize("dtype", HALVES)
def test_only_weights_and_features_are_rounded(dtype: torch.dtype) -> None:
    cloud = random_cloud(800)
    torch.manual_seed(0)
    model = concerto.Concerto(SMALL).eval().to(dtype)
    rounded = copy.deepcopy(model).float()
    given = model.encode(cloud)
    assert isinstance(given, torch.Tensor)
    assert given.dtype == dtype
    # Layers in half precision are off by 1e-2.
    assert relative_l2(given.float(), rounded.encode(cloud).to(dtype).float()) < 1e-3
    with_gradients = model(cloud)
    assert relative_l2(with_gradients.detach().float(), given.float()) < 1e-2


def test_the_model_keeps_its_dtype_its_hooks_and_its_gradients() -> None:
    torch.manual_seed(0)
    model = concerto.Concerto(SMALL).to(torch.bfloat16)
    seen: list[torch.Tensor] = []
    block = model._blocks()[0]
    block.register_forward_hook(lambda module, args, out: seen.append(out))
    model(random_cloud(300)).float().square().mean().backward()
    assert len(seen) == 1
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.bfloat16, name
    assert block.attention.qkv.weight.grad is not None
    assert block.attention.qkv.weight.grad.abs().sum() > 0


def test_a_bound_on_memory_reckons_with_what_is_copied() -> None:
    base = concerto.ConcertoConfig.preset("base")
    grid = torch.cartesian_prod(torch.arange(200), torch.arange(200), torch.zeros(1).long())
    half = concerto.Concerto(base).to(torch.bfloat16)
    single = concerto.Concerto(base)
    budget = 200 << 20
    assert half._rows_within(budget, grid) < single._rows_within(budget, grid)


def test_a_stream_of_half_precision_keeps_its_dtype() -> None:
    torch.manual_seed(0)
    encoder = PointTransformer(SMALL).eval().to(torch.bfloat16)
    grid = torch.randint(0, 12, (300, 3)).unique(dim=0)
    grid = grid[cell_keys(grid).argsort()]
    feat = torch.rand(len(grid), 9)
    changed = torch.zeros(len(grid), dtype=torch.bool)
    changed[:20] = True
    with torch.no_grad():
        levels, known = encode_whole(encoder, feat, grid)
        again, _ = encode_changed(encoder, known, feat, grid, changed)
    for before, after in zip(levels, again, strict=True):
        assert before.feat.dtype == after.feat.dtype == torch.bfloat16
        assert relative_l2(after.feat.float(), before.feat.float()) < 1e-2


@pytest.mark.parametrize(
    "head",
    [
        LinearConfig(),
        DecoderConfig(depths=(1, 1, 1, 1), channels=(8, 16, 16, 24), heads=(1, 2, 2, 3)),
        KnnConfig(rows=9),
    ],
)
def test_a_segmenter_of_half_precision_answers_as_one_of_float32(head: HeadConfig) -> None:
    torch.manual_seed(1)
    segmenter = Segmenter(SegmenterConfig(SMALL, head, ("wall", "floor", "chair"))).eval()
    if isinstance(segmenter.head, KnnHead):
        segmenter.head.features.normal_()
        segmenter.head.labels.copy_(torch.arange(9) % 3)
    cloud = random_cloud(400)
    half = copy.deepcopy(segmenter).to(torch.bfloat16)
    given, wanted = half.probabilities(cloud), segmenter.probabilities(cloud)
    close = ((given - wanted).abs().amax(1) <= 0.05).float().mean()
    # Of two neighbours that are equally near, rounding may choose the other.
    assert close > 0.95 if isinstance(segmenter.head, KnnHead) else close == 1
