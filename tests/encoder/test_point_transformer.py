import pytest
import torch

from concerto import ConcertoConfig, ConfigError, InputError
from concerto.encoder import PointTransformer
from concerto.encoder.layout import Layout
from concerto.encoder.random import hash_seeds
from concerto.encoder.sparse_conv import SubmanifoldConv
from conftest import SMALL, relative_l2


def voxels(count: int = 300) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    grid = torch.unique(torch.randint(0, 20, (count, 3)), dim=0)
    return torch.randn(len(grid), 9), grid, torch.tensor([len(grid) // 3, len(grid)])


def encoder(**changes: object) -> PointTransformer:
    torch.manual_seed(5)
    return PointTransformer(SMALL.replace(**changes))


def test_levels_have_the_configs_channels_and_end_where_the_clouds_end() -> None:
    levels = encoder().eval()(*voxels())
    assert [level.feat.shape[1] for level in levels] == list(SMALL.channels)
    for level in levels:
        assert int(level.offsets[-1]) == len(level.feat) == len(level.grid_coord)
    assert [level.pooling is None for level in levels] == [False] * 4 + [True]


@torch.no_grad()
def test_blocks_compiled_one_by_one_infer_the_same() -> None:
    model, inputs = encoder().eval(), voxels()
    plain = model(*inputs)
    for block in model.stages[0].blocks:
        block.compile(backend="eager")
    for given, wanted in zip(model(*inputs), plain, strict=True):
        assert relative_l2(given.feat, wanted.feat) < 1e-5


def test_weights_begin_as_published() -> None:
    model = PointTransformer(ConcertoConfig.preset("small"))
    convolutions = [module for module in model.modules() if isinstance(module, SubmanifoldConv)]
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert len(convolutions) == sum(model.config.depths)
    for module in convolutions + linear:
        assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not module.bias.any()
    assert not model.embedding.mask_token.any()


def test_every_parameter_gets_a_finite_gradient() -> None:
    model = encoder(drop_path=0.3).train()
    feat, grid, offsets = voxels()
    levels = model(feat, grid, offsets, mask=torch.rand(len(feat)) < 0.5)
    sum(level.feat.square().mean() for level in levels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_gradient_agrees_with_finite_differences() -> None:
    model = encoder().double().eval()
    feat, grid, offsets = voxels(60)

    def last(feat: torch.Tensor) -> torch.Tensor:
        return model(feat, grid, offsets)[-1].feat

    assert torch.autograd.gradcheck(last, feat.double().requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype: torch.dtype) -> None:
    model = encoder().eval()
    wanted = model(*voxels())[-1].feat
    half = encoder().to(dtype).eval()
    given = half(*voxels())[-1].feat
    assert given.dtype == dtype
    assert relative_l2(given, wanted) < 3e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains_without_nan(dtype: torch.dtype) -> None:
    model = encoder().train()
    with torch.autocast("cpu", dtype=dtype):
        loss = model(*voxels())[-1].feat.float().square().mean()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_does_not_round_positions(dtype: torch.dtype, autocast: bool) -> None:
    embedding = encoder().embedding
    feat = torch.zeros(100, 9)
    feat[:, 0] = 5 + torch.arange(100) * 0.002  # metres; bfloat16 would keep 2 cm
    rounded = len(feat.to(torch.bfloat16).unique(dim=0))
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        given = (embedding if autocast else embedding.to(dtype))(feat, None)
    assert len(given.unique(dim=0)) > 3 * rounded


def test_masked_voxels_do_not_reveal_their_features() -> None:
    model = encoder().eval()
    feat, grid, offsets = voxels()
    mask = torch.rand(len(feat)) < 0.4
    other = torch.where(mask[:, None], torch.randn_like(feat), feat)
    assert torch.equal(
        model(feat, grid, offsets, mask)[-1].feat, model(other, grid, offsets, mask)[-1].feat
    )
    assert not torch.equal(
        model(feat, grid, offsets)[-1].feat, model(other, grid, offsets)[-1].feat
    )


def test_training_shuffles_the_orders_and_inference_does_not() -> None:
    model = encoder()
    inputs = voxels()
    draws = [model.train()(*inputs)[-1].feat for _ in range(4)]
    assert any(not torch.equal(draws[0], draw) for draw in draws[1:])
    assert torch.equal(model.eval()(*inputs)[-1].feat, model(*inputs)[-1].feat)
    still = encoder(shuffle_orders=False).train()
    assert torch.equal(still(*inputs)[-1].feat, still(*inputs)[-1].feat)


def test_drop_path_keeps_the_mean_and_drops_whole_points() -> None:
    block = encoder(drop_path=0.5).train().stages[-1].blocks[-1]
    assert block.drop == 0.5
    row_seeds = hash_seeds(torch.tensor(7), torch.arange(20_000))
    layout = Layout(None, None, None, row_seeds, recompute=False)
    dropped = block._drop(torch.ones(20_000, 4), layout, branch=0)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert (dropped == dropped[:, :1]).all()
    assert abs(float(dropped.mean()) - 1) < 0.05
    assert not torch.equal(dropped, block._drop(torch.ones(20_000, 4), layout, branch=1))


def test_a_clouds_draws_depend_on_its_seed_and_not_on_its_batch() -> None:
    model = encoder(drop_path=0.5).train()
    feat, grid, offsets = voxels()
    first = int(offsets[0])
    together = model(feat, grid, offsets, seeds=torch.tensor([11, 12]))
    alone = model(feat[first:], grid[first:], offsets[1:] - first, seeds=torch.tensor([12]))
    other = model(feat[first:], grid[first:], offsets[1:] - first, seeds=torch.tensor([13]))
    for level, own, drawn in zip(together, alone, other, strict=True):
        assert relative_l2(level.feat[int(level.offsets[0]) :], own.feat) < 1e-5
        assert relative_l2(drawn.feat, own.feat) > 1e-3


def test_activation_checkpointing_changes_neither_result_nor_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        model = encoder(drop_path=0.5).train()
        model.activation_checkpointing = recompute
        last = model(*voxels(), seeds=torch.tensor([11, 12]))[-1].feat
        last.square().mean().backward()
        gradients.append([last, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(gradients[0]) == len(gradients[1])
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


@torch.no_grad()
def test_slices_do_not_change_the_result() -> None:
    model = encoder().eval()
    inputs = voxels(2000)
    whole = model(*inputs)
    for level, sliced in zip(whole, model(*inputs, slice_rows=100), strict=True):
        assert relative_l2(sliced.feat, level.feat) < 1e-6


@torch.no_grad()
def test_a_pass_in_training_mode_without_gradients_drops_as_one_with_them() -> None:
    model = encoder(drop_path=0.5).train()
    inputs = voxels()
    seeds = torch.tensor([11, 12])
    given = model(*inputs, seeds=seeds)
    with torch.enable_grad():
        wanted = model(*inputs, seeds=seeds)
    for level, other in zip(given, wanted, strict=True):
        assert relative_l2(level.feat, other.feat) < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, g, o: (f[:, :6], g, o), r"feat has shape \(\d+, 6\).*\(n, 9\)"),
        (lambda f, g, o: (f, g.float(), o), r"grid_coord is torch.float32"),
        (lambda f, g, o: (f, g[:-1], o), r"grid_coord is torch.int64 \(\d+, 3\); it must be"),
        (lambda f, g, o: (f, g - 1, o), r"spans -1 to"),
        (lambda f, g, o: (f, g + 65_530, o), r"need 0 to 65534"),
        (lambda f, g, o: (f, g, o[:0]), r"offsets must be \(B,\) int64 that rise"),
        (lambda f, g, o: (f, g, o.flip(0)), r"offsets must be \(B,\) int64 that rise"),
        (lambda f, g, o: (f, g * 0, o), r"rows of a cloud share a voxel"),
        (lambda f, g, o: (f, g, o, torch.ones(1).bool()), r"mask is torch.bool \(1,\)"),
        (lambda f, g, o: (f, g, o, torch.ones(len(f))), r"mask is torch.float32"),
        (lambda f, g, o: (f, g, o - 1), r"offsets end at \d+, but there are \d+ voxels"),
        (lambda f, g, o: (f[:0], g[:0], o), "no voxels"),
    ],
)
def test_wrong_input_says_what_is_wanted(change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        encoder()(*change(*voxels()))


def test_a_mask_without_a_token_is_refused() -> None:
    feat, grid, offsets = voxels()
    with pytest.raises(InputError, match="no mask token"):
        encoder(mask_token=False)(feat, grid, offsets, torch.ones(len(feat), dtype=torch.bool))


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match='must be "torch" or "spconv"'):
        PointTransformer(SMALL, backend="cuda")  # type: ignore[arg-type]
