import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from typing import Any

import numpy as np
import pytest
import torch

from concerto import Concerto, ConcertoConfig, ConfigError, Hierarchy, InputError, PointCloud
from conftest import SMALL, random_cloud, relative_l2

SAME = 1e-5


@pytest.fixture(autouse=True)
def _without_autograd():  # type: ignore[no-untyped-def]
    with torch.no_grad():
        yield


@pytest.mark.parametrize("threads", [1, 2])
def test_features_are_the_same_bits_in_every_run(model: Concerto, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        cloud = random_cloud(5000)
        first = model(cloud)
        assert all(torch.equal(model(cloud), first) for _ in range(3))
    finally:
        torch.set_num_threads(before)


def test_features_follow_the_points_when_their_order_changes(model: Concerto) -> None:
    cloud = random_cloud(5000)
    shuffled = torch.randperm(len(cloud))
    assert relative_l2(model(cloud[shuffled]), model(cloud)[shuffled]) <= SAME


@pytest.mark.parametrize(("points", "extent"), [(40, 0.3), (30_000, 12.0)])
def test_a_scenes_features_do_not_depend_on_what_it_is_batched_with(
    model: Concerto, points: int, extent: float
) -> None:
    scene, other = random_cloud(3000), random_cloud(points, seed=1, extent=extent)
    first, second = model([scene, other])
    assert relative_l2(first, model(scene)) <= SAME
    assert relative_l2(second, model(other)) <= SAME
    assert relative_l2(model([other, scene])[1], model(scene)) <= SAME


def test_encode_gives_what_the_call_gives_without_autograd(model: Concerto) -> None:
    scenes = [random_cloud(2000), random_cloud(500, seed=1)]
    with torch.enable_grad():
        encoded = model.encode(scenes)
        called = model(scenes)
    for ours, theirs in zip(encoded, called, strict=True):
        assert not ours.requires_grad
        assert theirs.requires_grad
        assert relative_l2(ours, theirs) <= 1e-6


def test_encode_within_a_bound_on_memory_gives_the_same(model: Concerto) -> None:
    cloud = random_cloud(20_000, extent=4.0)
    assert relative_l2(model.encode(cloud, max_memory="190MiB"), model.encode(cloud)) <= 1e-6


def test_a_bound_that_autocast_would_break_is_refused(model: Concerto) -> None:
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(InputError, match=r"max_memory cannot be kept under torch\.autocast"),
    ):
        model.encode(random_cloud(500), max_memory="1GiB")


@pytest.mark.parametrize("call", ["encode", "hierarchy"])
def test_of_several_scenes_the_one_that_cannot_be_used_is_named(model: Concerto, call: str) -> None:
    good, bad = random_cloud(50).coord, torch.full((20, 3), torch.nan)
    with pytest.raises(InputError, match=r"^Scene 1: None of the 20 points has finite"):
        getattr(model, call)([good, bad, good], drop_invalid=True)
    both = torch.cat([good, bad])
    for packing in ({"offset": [50, 50, 70]}, {"batch": [0] * 50 + [2] * 20}):
        with pytest.raises(InputError, match=r"^Scene 2: coord is NaN or infinite at 20"):
            getattr(model, call)({"coord": both, **packing})
    with pytest.raises(InputError, match=r"^coord is NaN"):
        getattr(model, call)(bad)


@pytest.mark.parametrize("points", [1, 3, 20, 100, 400, 3000])
def test_the_number_of_threads_hardly_changes_features(model: Concerto, points: int) -> None:
    cloud, before = random_cloud(points), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = model.encode(cloud)
        torch.set_num_threads(3)
        assert relative_l2(model.encode(cloud), alone) <= SAME
    finally:
        torch.set_num_threads(before)


def test_encode_refuses_a_bound_that_cannot_hold(model: Concerto) -> None:
    with pytest.raises(InputError, match=r"need about .* MiB.*max_memory is 1 MiB"):
        model.encode(random_cloud(20_000), max_memory="1MiB")


def test_encode_evaluates_a_model_in_training_and_leaves_it_so() -> None:
    model = Concerto(SMALL.replace(drop_path=0.5)).train()
    model.encoder.stages[0].eval()
    cloud = random_cloud(500)
    assert torch.equal(model.encode(cloud), model.encode(cloud))
    assert model.training
    assert model.encoder.stages[1].training
    assert not model.encoder.stages[0].training


def test_threads_that_encode_at_once_with_a_model_in_training_all_evaluate() -> None:
    model = Concerto(SMALL.replace(drop_path=0.5)).train()
    clouds = [random_cloud(400, seed=seed) for seed in range(4)]
    expected = [model.encode(cloud) for cloud in clouds]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            given = list(pool.map(model.encode, clouds))
            assert all(map(torch.equal, given, expected))
    assert all(module.training for module in model.modules())


def test_a_progress_bar_changes_nothing_but_stderr(model: Concerto) -> None:
    cloud, bar = random_cloud(500), io.StringIO()
    with redirect_stderr(bar):
        features = model.encode(cloud, progress=True)
    assert torch.equal(features, model.encode(cloud))
    assert "7/7" in bar.getvalue()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_torchs_default_dtype_changes_no_feature(model: Concerto, dtype: torch.dtype) -> None:
    cloud = random_cloud(300)
    expected = model.encode(cloud)
    torch.set_default_dtype(dtype)
    try:
        given = model.encode(cloud)
        trained = Concerto(SMALL).to(torch.float32).train()
        with torch.enable_grad():
            trained(cloud).sum().backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(given, expected)
    assert all(p.grad is None or p.grad.isfinite().all() for p in trained.parameters())


def test_torchs_default_device_changes_no_feature(model: Concerto) -> None:
    cloud = random_cloud(300)
    expected = model.encode(cloud)
    with torch.device("meta"):
        given = model.encode(cloud)
    assert torch.equal(given, expected)


def test_all_points_of_a_voxel_share_its_features(model: Concerto) -> None:
    cloud = random_cloud(400)
    twice = PointCloud(torch.cat([cloud.coord, cloud.coord]))
    features = model(twice)
    assert torch.equal(features[:400], features[400:])


def test_missing_colours_and_normals_are_zeros(model: Concerto) -> None:
    cloud = random_cloud(400)
    zeros = torch.zeros(400, 3)
    assert torch.equal(model(cloud.coord), model(PointCloud(cloud.coord, zeros, zeros)))


@pytest.mark.parametrize(
    "coord",
    [
        torch.tensor([[1.0, 2.0, 3.0]]),
        torch.tensor([[1.0, 2.0, 3.0]] * 2),
        torch.cartesian_prod(torch.linspace(0, 1, 30), torch.linspace(0, 1, 30), torch.zeros(1)),
        torch.linspace(0, 5, 200)[:, None] * torch.tensor([[1.0, 0.5, 0.0]]),
        torch.full((1_000_000, 3), 0.005) * torch.rand(1_000_000, 1),
    ],
    ids=["one point", "two equal points", "a plane", "a line", "a million in one voxel"],
)
def test_degenerate_clouds_get_finite_features(model: Concerto, coord: torch.Tensor) -> None:
    features = model(coord)
    assert features.shape == (len(coord), model.feature_dim())
    assert features.isfinite().all()


def test_utm_coordinates_in_float64_keep_their_precision(model: Concerto) -> None:
    cloud = random_cloud(2000)
    # A shift that float64 adds exactly, and that float32 would round to half a metre.
    local = (cloud.coord * 2**20).round().double() / 2**20
    far = local + torch.tensor([500_000.0, 5_000_000.0, 200.0], dtype=torch.float64)
    near = model(PointCloud(local, cloud.color, cloud.normal))
    assert relative_l2(model(PointCloud(far, cloud.color, cloud.normal)), near) <= SAME


def test_scale_and_grid_size_replace_the_checkpoints(model: Concerto) -> None:
    cloud = random_cloud(1000)
    millimetres = PointCloud(cloud.coord * 1000, cloud.color, cloud.normal)
    assert relative_l2(model(millimetres, scale=0.001), model(cloud)) < 1e-3
    assert len(model.hierarchy(cloud, grid_size=0.1).levels[0].feat) < len(
        model.hierarchy(cloud).levels[0].feat
    )


def test_stages_are_concatenated_fine_to_coarse(model: Concerto) -> None:
    hierarchy = model.hierarchy(random_cloud(1000))
    at_four = [hierarchy.features((stage,)) for stage in (1, 3, 4)]
    assert torch.equal(hierarchy.features((3, 4, 1)), torch.cat(at_four, dim=1))
    assert hierarchy.features("all").shape[1] == sum(SMALL.channels) == model.feature_dim("all")
    assert model.feature_dim() == sum(SMALL.channels[2:])


def test_features_at_voxels_and_stages_are_those_of_the_points_there(model: Concerto) -> None:
    cloud = random_cloud(1000)
    hierarchy = model.hierarchy(cloud)
    assert torch.equal(hierarchy.features(at="voxels")[hierarchy.voxel_of_point], model(cloud))
    at_two = hierarchy.features((2, 3), at=2)
    rows = hierarchy.levels[0].parent[hierarchy.voxel_of_point]
    assert torch.equal(at_two[hierarchy.levels[1].parent[rows]], hierarchy.features((2, 3)))


def test_stages_may_come_as_an_array(model: Concerto) -> None:
    cloud = random_cloud(200)
    assert torch.equal(model(cloud, stages=np.array([2, 3, 4])), model(cloud))


def test_a_scale_may_come_from_numpy(model: Concerto) -> None:
    cloud = random_cloud(200)
    assert torch.equal(model(cloud, scale=np.float32(1)), model(cloud))


def test_levels_hold_the_mean_of_their_members_coordinates(model: Concerto) -> None:
    fine, coarse = model.hierarchy(random_cloud(1000)).levels[:2]
    for row in range(0, len(coarse.coord), 17):
        members = fine.coord[fine.parent == row]
        assert torch.allclose(coarse.coord[row], members.mean(0), atol=1e-6)


def test_a_list_gives_lists_at_every_place(model: Concerto) -> None:
    hierarchy = model.hierarchy([random_cloud(300), random_cloud(200, seed=1)])
    assert [len(f) for f in hierarchy.features()] == [300, 200]
    for place in ("voxels", 1):
        sizes = [len(f) for f in hierarchy.features((3, 4), at=place)]
        level = hierarchy.levels[0 if place == "voxels" else 1]
        assert sizes == [int(level.offsets[0]), int(level.offsets[1] - level.offsets[0])]


def test_dropped_points_get_zeros_and_leave_the_others_alone(model: Concerto) -> None:
    cloud = random_cloud(600)
    holes = cloud.coord.clone()
    holes[[3, 77]] = torch.tensor([torch.nan, torch.inf])[:, None]
    color = torch.where(holes.isfinite(), torch.zeros(()), torch.nan)  # as lifted points have it
    features = model([cloud.coord, {"coord": holes, "color": color}], drop_invalid=True)[1]
    kept = torch.ones(600, dtype=torch.bool)
    kept[[3, 77]] = False
    assert (features[~kept] == 0).all()
    assert relative_l2(features[kept], model(cloud.coord[kept])) <= SAME


def test_points_left_out_cost_no_second_copy_of_the_features(
    model: Concerto, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = random_cloud(600).coord
    cloud[3] = torch.nan
    made: list[torch.Tensor] = []
    gather = Hierarchy._gather

    def watched(*given: Any) -> torch.Tensor:
        made.append(gather(*given))
        return made[-1]

    monkeypatch.setattr(Hierarchy, "_gather", watched)
    assert model.encode(cloud, drop_invalid=True).data_ptr() == made[0].data_ptr()
    with torch.enable_grad():
        features = model(cloud, stages=(4,), drop_invalid=True)
        (gradient,) = torch.autograd.grad(features.sum(), model.encoder.embedding.linear.weight)
    assert (features[3] == 0).all()
    assert gradient.isfinite().all()


def test_only_features_take_the_models_dtype() -> None:
    torch.manual_seed(0)
    model = Concerto(SMALL).to(torch.bfloat16).eval()
    hierarchy = model.hierarchy(random_cloud(500))
    assert hierarchy.features().dtype == model.dtype == torch.bfloat16
    assert hierarchy.levels[2].coord.dtype == torch.float32


def test_a_copy_a_state_dict_and_a_hook_work_as_in_any_module(model: Concerto) -> None:
    cloud = random_cloud(300)
    twin = Concerto(SMALL).eval()
    twin.load_state_dict(model.state_dict())
    seen: list[int] = []
    handle = twin.register_forward_hook(lambda *_: seen.append(1))
    assert torch.equal(twin(cloud), model(cloud))
    handle.remove()
    assert seen == [1]


def test_hooks_on_stages_and_blocks_see_all_rows_without_gradients_too(model: Concerto) -> None:
    cloud = random_cloud(20_000, extent=4.0)
    seen: list[int] = []
    watched = [model.encoder, *model.encoder.stages, *model._blocks()]
    handles = [m.register_forward_hook(lambda *args: seen.append(len(args[2]))) for m in watched]
    with torch.enable_grad():
        model(cloud)
    wanted, seen[:] = list(seen), []
    model.encode(cloud, max_memory="190MiB")
    for handle in handles:
        handle.remove()
    assert seen == wanted
    assert len(wanted) == len(watched)


def test_gradients_reach_the_callers_colours(model: Concerto) -> None:
    cloud = random_cloud(300)
    color = cloud.color.clone().requires_grad_()
    with torch.enable_grad():
        model({"coord": cloud.coord, "color": color}).sum().backward()
    assert color.grad is not None
    assert color.grad.abs().sum() > 0


def test_copies_and_pickles_give_the_same(model: Concerto) -> None:
    cloud = random_cloud(300)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(cloud), model(cloud))


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_presets_have_the_published_numbers_of_parameters(size: str) -> None:
    published = {"small": 38.65, "base": 108.46, "large": 207.67}
    with torch.device("meta"):
        model = Concerto(ConcertoConfig.preset(size))
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert round(millions, 2) == published[size]


def test_the_tiny_preset_has_at_most_three_million_parameters() -> None:
    with torch.device("meta"):
        model = Concerto(ConcertoConfig.preset("tiny"))
    assert sum(parameter.numel() for parameter in model.parameters()) <= 3e6


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "list of scenes is empty"),
        (np.zeros((0, 3)), "no points"),
        (
            np.array([[0, 0, 0], [np.nan, 0, 0], [0, np.inf, 0]]),
            r"at 2 of 3 .*first at index 1.*dr",
        ),
        (np.array([[0, 0, 0], [65536 * 0.02, 0, 0]]), r"65536 voxels of 0\.02; at most 65535 fit"),
        (np.array([[0.0, 0, 0], [3500.0, 2500, 2000]]), r"millimetres, pass scale=0\.001"),
        (np.array([[0.0, 0, 0], [1e300, 0, 0]]), "at most 65535 fit"),
    ],
)
def test_unusable_points_get_one_clear_error(model: Concerto, points, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        model(points)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": (0, 5)}, r"some of \(0, 1, 2, 3, 4\)"),
        ({"stages": ()}, "at least one"),
        ({"stages": (1, 1)}, "once"),
        ({"stages": "last"}, '"all"'),
        ({"stages": 4}, '"all"'),
        ({"scale": 0}, "scale is 0"),
        ({"grid_size": float("nan")}, "grid_size is nan"),
    ],
)
def test_unusable_options_get_one_clear_error(model: Concerto, options, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        model(random_cloud(50), **options)


def test_features_finer_than_their_place_are_refused(model: Concerto) -> None:
    hierarchy = model.hierarchy(random_cloud(50))
    with pytest.raises(InputError, match="Stage 1 is finer than stage 2"):
        hierarchy.features((1, 3), at=2)
    with pytest.raises(InputError, match='"points", "voxels" or a stage'):
        hierarchy.features(at="pixels")  # type: ignore[arg-type]


def test_values_that_are_not_of_a_stages_voxels_are_refused_at_points(model: Concerto) -> None:
    hierarchy = model.hierarchy(random_cloud(50))
    for stage in (-1, 5, 1.0):
        with pytest.raises(InputError, match=f"stage is {stage}; it must be from 0 to 4"):
            hierarchy.at_points(hierarchy.levels[1].feat, stage)  # type: ignore[arg-type]
    for values in (hierarchy.levels[1].feat, torch.tensor(1.0)):
        with pytest.raises(InputError, match=r"a row for each voxel of stage 2"):
            hierarchy.at_points(values, 2)


def test_a_name_instead_of_a_config_says_how_to_load() -> None:
    with pytest.raises(ConfigError, match=r"from_pretrained"):
        Concerto("concerto-large")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_model_still_encodes(model: Concerto) -> None:
    quantization = pytest.importorskip("torch.ao.quantization")
    cloud = random_cloud(600)
    quantised = quantization.quantize_dynamic(model, {torch.nn.Linear})
    assert (quantised.device, quantised.dtype) == (model.device, model.dtype)
    given, wanted = quantised.encode(cloud, max_memory="1GiB"), model.encode(cloud)
    assert torch.nn.functional.cosine_similarity(given, wanted).mean() > 0.99
