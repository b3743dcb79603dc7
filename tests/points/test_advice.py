import copy
import warnings

import numpy as np
import pytest
import torch

import concerto
from concerto import Concerto, ConcertoWarning, PointCloud
from concerto.known_models import find_model
from conftest import ROOT, SMALL, random_cloud


def surface(side: float, step: float) -> torch.Tensor:
    """A square wall, `side` wide, with a point every `step`."""
    line = torch.arange(0, side, step, dtype=torch.float64)
    return torch.cartesian_prod(line, line, torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("coord", "message"),
    [
        (surface(0.4, 0.01), r"spans 0\.4 .*20 voxels.*small.*scale=5\."),
        (surface(0.1, 0.005), r"spans 0\.12 .*6 voxels.*small.*scale=17"),
        (surface(60, 0.5), r"spans 59.5 .*2976 voxels.*large.*concerto-large-outdoor"),
        (surface(40, 0.5), r"6400 voxels of 0\.02 touch.*denser"),
        (surface(2.0, 0.01).repeat(60, 1), r"240 points share a voxel"),
        (
            surface(2.0, 0.01).float() + torch.tensor([5e5, 5e6, 0]),
            r"exact to 0\.6 only in float32",
        ),
    ],
    ids=["an object", "a cup", "a sweep", "a thinned scan", "a crowd", "UTM in float32"],
)
def test_a_scene_out_of_proportion_gets_advice(
    model: Concerto, coord: torch.Tensor, message: str
) -> None:
    with pytest.warns(ConcertoWarning, match=message):
        model.encode(coord)


@pytest.mark.parametrize(
    "points",
    [
        ROOT / "concerto" / "assets" / "sample_room.npz",
        random_cloud(3000),
        torch.zeros(1, 3),
        surface(5.0, 0.02) + torch.tensor([5e5, 5e6, 0]),
    ],
    ids=["the sample room", "a small room", "one point", "UTM in float64"],
)
def test_an_ordinary_scene_gets_none(model: Concerto, points: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConcertoWarning)
        model.encode(points)


def test_the_advised_scale_ends_the_advice(model: Concerto) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConcertoWarning)
        model.encode(surface(0.4, 0.004), scale=5.0)


def test_a_sweep_is_no_surprise_to_the_outdoor_model(shared) -> None:  # type: ignore[no-untyped-def]
    sweep = np.fromfile(shared / "data" / "scans" / "kitti_000008.bin", np.float32).reshape(-1, 4)
    outdoor = find_model("concerto-large-outdoor").config
    config = SMALL.replace(
        coord_scale=outdoor.coord_scale, grid_size=outdoor.grid_size, center=outdoor.center
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConcertoWarning)
        Concerto(config).encode(sweep[:, :3])
        Concerto(config).encode(2 * sweep[:, :3])  # 150 m across
    with pytest.warns(ConcertoWarning, match="concerto-large-outdoor"):
        Concerto(SMALL).encode(sweep[:, :3])


def test_training_gets_no_advice() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConcertoWarning)
        Concerto(SMALL).train()(PointCloud(surface(0.4, 0.01)))


def test_advice_is_a_warning_that_can_be_silenced(model: Concerto) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", concerto.ConcertoWarning)
        assert len(model.encode(surface(0.4, 0.01))) == 1600


def hovering(height: float) -> torch.Tensor:
    """A square of ground, 10 m wide, so far above 0."""
    return surface(10, 0.04) + torch.tensor([0, 0, height])


OUTDOORS = {"coord_scale": 0.2, "grid_size": 0.01, "center": "xy"}


@pytest.mark.parametrize("height", [350.0, -80.0])
def test_heights_above_the_sea_get_advice_from_a_model_that_keeps_them(height: float) -> None:
    outdoors = Concerto(SMALL.replace(**OUTDOORS)).eval()
    with pytest.warns(ConcertoWarning, match=f"around z = {height:g} .*Subtract the ground's"):
        outdoors.encode(hovering(height))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConcertoWarning)
        outdoors.encode(hovering(20.0))
        Concerto(SMALL.replace(**OUTDOORS | {"center": "xyz"})).encode(hovering(height))


def test_a_stream_is_told_each_kind_of_advice_once_at_the_line_that_calls() -> None:
    streaming, other = Concerto(SMALL).eval(), Concerto(SMALL).eval()
    cup, pot = surface(0.1, 0.005), surface(0.4, 0.01)
    far = surface(2.0, 0.01).float() + torch.tensor([5e5, 5e6, 0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default", ConcertoWarning)
        for points in (cup, pot, far, pot, far):
            streaming(points)
        other.encode(pot)
    small, precise, small_again = (str(one.message) for one in told)
    assert "spans 0.12 " in small
    assert "only in float32" in precise
    assert "spans 0.4 " in small_again
    assert {one.filename for one in told} == {__file__}


def test_who_asks_for_every_warning_gets_it_for_every_scene() -> None:
    streaming = Concerto(SMALL).eval()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConcertoWarning)
        for _ in range(3):
            streaming.encode(surface(0.4, 0.01))
    assert len(told) == 3


def test_advice_told_once_is_told_again_where_filters_changed_or_by_a_copy() -> None:
    streaming, pot = Concerto(SMALL).eval(), surface(0.4, 0.01)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default", ConcertoWarning)
        for model in (streaming, streaming, copy.deepcopy(streaming)):
            model.encode(pot)
        assert len(told) == 2
        warnings.simplefilter("always", ConcertoWarning)
        for _ in range(3):
            streaming.encode(pot)
        assert len(told) == 5
