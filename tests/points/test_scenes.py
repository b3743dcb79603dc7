from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from concerto import Concerto, InputError
from concerto.points.scenes import to_scenes
from conftest import random_cloud, relative_l2

ROOM, HALL = random_cloud(300), random_cloud(200, seed=1, extent=4.0)
COORD = torch.cat([ROOM.coord, HALL.coord])
COLOR = torch.cat([ROOM.color, HALL.color])
NORMAL = torch.cat([ROOM.normal, HALL.normal])
FIELDS = {"coord": COORD, "color": COLOR, "normal": NORMAL}
OFFSET = torch.tensor([300, 500])
BATCH = torch.tensor([0] * 300 + [1] * 200)


@pytest.fixture(scope="module")
def apart(model: Concerto) -> torch.Tensor:
    """The features of both scenes, each encoded on its own."""
    return torch.cat([model.encode(ROOM), model.encode(HALL)])


@pytest.mark.parametrize("encode", [False, True], ids=["call", "encode"])
@pytest.mark.parametrize(
    "packed",
    [
        FIELDS | {"offset": OFFSET},
        FIELDS | {"batch": BATCH},
        FIELDS | {"offset": OFFSET.int().numpy(), "segment": BATCH, "name": "two rooms"},
        SimpleNamespace(**FIELDS, offset=OFFSET),
        SimpleNamespace(pos=COORD, color=COLOR, normal=NORMAL, batch=BATCH, x=None),
    ],
    ids=["offset", "batch", "Pointcept", "namespace", "PyG"],
)
def test_packed_scenes_come_back_packed_each_as_if_alone(
    model: Concerto, apart: torch.Tensor, packed: object, encode: bool
) -> None:
    with torch.no_grad():
        features = model.encode(packed) if encode else model(packed)
    assert relative_l2(features, apart) <= 1e-5


def test_points_of_scenes_may_be_interleaved(model: Concerto, apart: torch.Tensor) -> None:
    mixed = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    packed = {name: values[mixed] for name, values in FIELDS.items()} | {"batch": 7 - BATCH[mixed]}
    with torch.no_grad():
        assert relative_l2(model(packed), apart[mixed]) <= 1e-5
        assert relative_l2(model.encode(packed), apart[mixed]) <= 1e-5


def test_voxels_of_the_callers_making_are_encoded_as_they_are(model: Concerto) -> None:
    with torch.no_grad():
        level = model.hierarchy([ROOM, HALL]).levels[0]
        wanted = torch.cat(model.hierarchy([ROOM, HALL]).features(at="voxels"))
        color, normal = torch.rand(2, len(level.coord), 3)
        feat = torch.cat([level.coord, color, normal], dim=1)
        packed = {"feat": feat, "grid_coord": level.grid_coord, "offset": level.offsets}
        direct = model.encoder(feat, level.grid_coord, level.offsets)[-1].feat
        hierarchy = model.hierarchy(packed | {"coord": level.coord})
    assert torch.equal(hierarchy.levels[-1].feat, direct)
    assert hierarchy.features().shape == wanted.shape


def test_an_empty_scene_among_packed_ones_does_no_harm(
    model: Concerto, apart: torch.Tensor
) -> None:
    with torch.no_grad():
        features = model(FIELDS | {"offset": torch.tensor([0, 300, 300, 500])})
    assert relative_l2(features, apart) <= 1e-5


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "list of scenes is empty"),
        ([FIELDS | {"offset": OFFSET}], "one of these is packed"),
        (FIELDS | {"offset": torch.tensor([300, 400])}, r"offset is \[300, 400\].*points, 500"),
        (FIELDS | {"offset": torch.tensor([400, 300, 500])}, "must rise"),
        (FIELDS | {"offset": torch.zeros(0).long()}, r"offset is \[\]"),
        (FIELDS | {"batch": BATCH[:-1]}, "500 points, but batch has 499"),
        (FIELDS | {"offset": torch.tensor([100.5, 500])}, "offset must hold integers"),
        (FIELDS | {"batch": torch.full((500,), torch.nan)}, "batch must hold integers"),
        (
            {"grid_coord": np.full((5, 3), 0.5), "feat": np.zeros((5, 9))},
            "grid_coord must hold int",
        ),
        (
            {"grid_coord": np.arange(6).reshape(2, 3), "feat": np.full((2, 9), np.nan)},
            "feat is NaN or infinite in 2 rows, first at index 0",
        ),
        ({"grid_coord": np.zeros((5, 3), int)}, "grid_coord was given without feat"),
        (
            {"grid_coord": np.zeros((5, 3), int), "feat": np.zeros((5, 6))},
            r"feat has shape \(5, 6\)",
        ),
        ({"grid_coord": np.zeros((5, 3), int), "feat": np.zeros((5, 9))}, "4 rows of grid_coord"),
    ],
)
def test_packing_that_does_not_add_up_is_refused(points: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_scenes(points)


def test_an_array_that_lies_in_a_file_is_one_scene(model: Concerto, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", ROOM.coord.numpy())
    mapped = np.load(tmp_path / "scan.npy", mmap_mode="r")
    wanted = model.encode(ROOM.coord)
    assert torch.equal(model.encode(mapped), wanted)
    assert torch.equal(model.encode([mapped])[0], wanted)


def test_neither_scale_nor_color_range_has_a_say_over_voxels_that_are_made(
    model: Concerto,
) -> None:
    made = {"grid_coord": np.arange(6).reshape(2, 3), "feat": np.zeros((2, 9))}
    for option in ({"scale": 2.0}, {"grid_size": 0.1}, {"drop_invalid": True}):
        with pytest.raises(InputError, match="have no say where grid_coord"):
            model(made, **option)
    with pytest.raises(InputError, match="color_range has no say where grid_coord"):
        model(made, color_range=(0, 255))
