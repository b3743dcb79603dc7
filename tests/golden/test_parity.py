"""Parity with the published implementation, on files it wrote.

The files are those of `golden/` in the shared folder, and a smaller set that travels with the
repository; whatever arrays a file holds are compared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from concerto import Concerto, PointCloud
from concerto.encoder import EncodedLevel
from concerto.encoder.serialization import ORDERS, curve_codes
from concerto.points.voxels import voxelize
from conftest import relative_l2

pytestmark = pytest.mark.golden

Arrays = dict[str, torch.Tensor]

DEPTHS = (1, 2, 3, 5, 8, 9, 11, 16)
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=["shared", "packaged"])
def folder(request: pytest.FixtureRequest) -> Path:
    if request.param == "packaged":
        return Path(__file__).parent / "data"
    return request.getfixturevalue("shared") / "golden"


@pytest.fixture(scope="module")
def model(folder: Path) -> Concerto:
    return Concerto.from_pretrained(folder / "official_tiny.pth")


def load(file: Path) -> Arrays:
    with np.load(file) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def encode(model: Concerto, data: Arrays) -> list[EncodedLevel]:
    with torch.no_grad():
        return model.encoder(
            data["in_feat"], data["in_grid_coord"], data["in_offset"], data.get("in_mask")
        )


@pytest.mark.parametrize("depth", DEPTHS)
def test_curve_codes_are_exact(folder: Path, depth: int) -> None:
    wanted = load(folder / "official_serialization.npz")
    grid = wanted[f"grid_{depth}"]
    codes = curve_codes(grid, torch.full((len(grid),), depth)) | 3 << 3 * depth
    for order, code in zip(ORDERS, codes, strict=True):
        assert torch.equal(code, wanted[f"{order}_{depth}"]), order


@pytest.mark.parametrize("name", ["single", "batch", "masked"])
def test_every_level_of_the_encoder_agrees(folder: Path, model: Concerto, name: str) -> None:
    data = load(folder / f"official_{name}.npz")
    levels = encode(model, data)
    compared = 0
    for number, level in enumerate(levels):
        prefix = f"out_enc{number}_"
        if f"{prefix}grid_coord" in data:
            assert torch.equal(level.grid_coord, data[f"{prefix}grid_coord"].long())
        if f"{prefix}batch" in data:
            batch = data[f"{prefix}batch"].long()
            assert torch.equal(level.offsets, torch.bincount(batch).cumsum(0))
        if f"{prefix}feat" in data:
            assert relative_l2(level.feat, data[f"{prefix}feat"]) <= TOLERANCE
            compared += 1
    assert compared > 0


@pytest.mark.parametrize("name", ["single", "batch", "masked"])
def test_upcast_features_agree(folder: Path, model: Concerto, name: str) -> None:
    data = load(folder / f"official_{name}.npz")
    levels = encode(model, data)
    compared = 0
    feat = levels[-1].feat
    for up, level in enumerate(reversed(levels[:-1]), start=1):
        assert level.pooling is not None
        feat = torch.cat([level.feat, feat[level.pooling.parent]], dim=1)
        if f"out_upcast{up}_feat" in data:
            assert torch.equal(level.grid_coord, data[f"out_upcast{up}_grid_coord"].long())
            assert relative_l2(feat, data[f"out_upcast{up}_feat"]) <= TOLERANCE
            compared += 1
    assert compared > 0


def test_features_of_points_agree(folder: Path, model: Concerto) -> None:
    data = load(folder / "official_public.npz")
    points = {name: data[name] for name in ("coord", "color", "normal")}
    with torch.no_grad():
        last_three = model(points)
        all_stages = model(points, stages="all")
    assert relative_l2(last_three, data["features_last3"]) <= TOLERANCE
    head = data["features_all_head"]
    assert relative_l2(all_stages[: len(head)], head) <= TOLERANCE


def test_default_transform_gives_the_same_voxels(folder: Path) -> None:
    data = load(folder / "official_transform.npz")
    cloud = PointCloud(data["in_coord"], data["in_color"] / 255, data["in_normal"])
    voxels = voxelize(cloud, grid_size=0.02, scale=1.0, center="xyz")
    theirs = data["out_grid_coord"][data["out_inverse"]]
    assert torch.equal(voxels.grid_coord[voxels.voxel_of_point], theirs)
    # Which of a voxel's points stands for it differs; where it has only one, nothing may.
    alone = torch.bincount(voxels.voxel_of_point) == 1
    assert alone.sum() > 100
    order = data["out_inverse"][voxels.points[alone]]
    points = voxels.points[alone]
    ours = torch.cat(
        [voxels.coord[alone], data["in_color"][points] / 255, data["in_normal"][points]], dim=1
    )
    assert torch.allclose(ours, data["out_feat"][order], atol=1e-6)


@pytest.mark.parametrize("name", ["single", "batch"])
def test_packed_voxels_as_the_published_pipeline_makes_them_agree(
    folder: Path, model: Concerto, name: str
) -> None:
    data = load(folder / f"official_{name}.npz")
    packed = {key: data[f"in_{key}"] for key in ("coord", "grid_coord", "feat", "offset")}
    given = model.encode(packed, stages="all")
    assert relative_l2(given, data["out_upcast4_feat"]) <= TOLERANCE
