"""What holds for every format: dispatch by suffix, options, extras, folders, whole writes."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import concerto
from concerto import InputError, MissingExtraError, PointCloud
from concerto.io import FORMATS, MESHES, WRITERS, find_scans
from conftest import ROOT, random_cloud

EXACT = [suffix for suffix in WRITERS if suffix not in (".las", ".laz")]


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fields", [(), ("color",), ("normal",), ("color", "normal")])
def test_what_is_written_is_read_back(
    tmp_path: Path, suffix: str, dtype: torch.dtype, fields: tuple[str, ...]
) -> None:
    whole = random_cloud(200)
    coord = whole.coord.to(dtype) + torch.tensor([5e5, 5e6, 0], dtype=dtype)
    cloud = PointCloud(coord, **{field: getattr(whole, field) for field in fields})
    file = tmp_path / "new" / f"scan{suffix}"
    concerto.write(file, cloud)
    again = concerto.read(file)
    if suffix in EXACT:
        assert again.coord.dtype == dtype
        assert torch.equal(again.coord, coord)
    else:
        assert (again.coord - coord.double()).abs().max() <= 1e-6
    for field in ("color", "normal"):
        if field not in fields:
            assert getattr(again, field) is None
            continue
        rounding = 0.5 / 255 if field == "color" and suffix in (".ply", ".pcd") else 1e-5
        assert torch.allclose(getattr(again, field), getattr(whole, field), atol=rounding + 1e-6)
    assert [p.name for p in file.parent.iterdir()] == [file.name]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(sorted(WRITERS)),
    count=st.integers(1, 40),
    scale=st.sampled_from([1e-4, 1.0, 1e4, 1e6]),
    seed=st.integers(0, 999),
    double=st.booleans(),
)
def test_any_cloud_round_trips(
    tmp_path: Path, suffix: str, count: int, scale: float, seed: int, double: bool
) -> None:
    cloud = random_cloud(count, seed)
    coord = (cloud.coord.double() if double else cloud.coord) * scale
    concerto.write(tmp_path / f"a{suffix}", PointCloud(coord, cloud.color, cloud.normal))
    again = concerto.read(tmp_path / f"a{suffix}")
    rounding = 0 if suffix in EXACT else min(1e-7 * 1.5 * scale, 1e-3) + 1e-9 * scale
    assert (again.coord.double() - coord.double()).abs().max() <= rounding
    assert (again.color - cloud.color).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.allclose(again.normal, cloud.normal, atol=1e-6)


@pytest.mark.parametrize("suffix", WRITERS)
def test_features_and_classes_must_go_with_the_points(tmp_path: Path, suffix: str) -> None:
    cloud, file = random_cloud(4), tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match=r"must be \(4, C\) floats"):
        concerto.write(file, cloud, features=torch.zeros(3, 2))
    with pytest.raises(InputError, match=r"must be \(4, C\) floats"):
        concerto.write(file, cloud, features=np.zeros((4, 2), int))
    with pytest.raises(InputError, match=r"must be \(4,\) integers"):
        concerto.write(file, cloud, classes=torch.zeros(4))
    assert not file.exists()


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    ("cloud", "message"),
    [
        (PointCloud(torch.zeros(0, 3)), "There are no points"),
        (PointCloud(torch.zeros(5, 2)), r"coord has shape \(5, 2\)"),
        (PointCloud(torch.zeros(5, 3), torch.zeros(4, 3)), "5 points, but color has 4"),
        (PointCloud(torch.zeros(5, 3), None, torch.zeros(5, 4)), r"normal has shape \(5, 4\)"),
        (PointCloud(torch.zeros(5, 3), torch.full((5, 3), torch.nan)), "color is NaN"),
        (PointCloud(torch.zeros(5, 3), torch.full((5, 3), 200.0)), r"color lies in \[200, 200\]"),
        (PointCloud(torch.zeros(5, 3, dtype=torch.bool)), "must hold real numbers"),
        (PointCloud(None), "must hold real numbers"),  # type: ignore[arg-type]
    ],
    ids=["none", "width", "colors", "normals", "NaN", "range", "bool", "no coord"],
)
def test_a_cloud_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, suffix: str, cloud: PointCloud, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        concerto.write(tmp_path / f"a{suffix}", cloud)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    "coord",
    [
        torch.tensor([[1, 2, 3]] * 2, dtype=torch.float16),
        torch.tensor([[1, 2, 3]] * 2, dtype=torch.bfloat16),
        torch.tensor([[1, 2, 3]] * 2),
        np.array([[1.0, 2, 3]] * 2),
        np.array([[1, 2, 3]] * 2, np.uint16),
    ],
    ids=["float16", "bfloat16", "int64", "numpy", "numpy uint16"],
)
def test_numbers_of_any_type_are_written(
    tmp_path: Path, suffix: str, coord: torch.Tensor | np.ndarray
) -> None:
    color = coord * 0.25 if isinstance(coord, np.ndarray) else coord.to(torch.bfloat16) * 0.25
    concerto.write(tmp_path / f"a{suffix}", PointCloud(coord, color))  # type: ignore[arg-type]
    again = concerto.read(tmp_path / f"a{suffix}")
    assert again.coord.tolist() == [[1, 2, 3]] * 2
    assert again.color is not None
    assert torch.allclose(again.color, torch.tensor([0.25, 0.5, 0.75]), atol=0.5 / 255)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_colour_beside_0_to_1_by_rounding_is_written_and_read(
    tmp_path: Path, suffix: str
) -> None:
    color = torch.tensor([[-1e-4, 0.5, 1 + 1e-4]])
    concerto.write(tmp_path / f"a{suffix}", PointCloud(torch.zeros(1, 3), color))
    again = concerto.read(tmp_path / f"a{suffix}")
    assert torch.allclose(again.color, color.clamp(0, 1), atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("suffix", [s for s in FORMATS if s not in WRITERS])
def test_what_cannot_be_written_says_what_can(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match=r"scans are written as \.ply, \.pcd"):
        concerto.write(tmp_path / f"a{suffix}", random_cloud(3))


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"suffix '\.xlsx'; known formats are \.ply, \.pcd"):
        concerto.read(tmp_path / "a.xlsx")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_missing_file_or_a_folder_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match="no file of that name"):
        concerto.read(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(InputError, match="a folder of that name"):
        concerto.read(tmp_path / f"folder{suffix}")


@pytest.mark.parametrize("suffix", [s for s in FORMATS if s != ".bin"])
def test_columns_is_only_for_raw_sweeps(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match=r"columns= is for \.bin, not for"):
        concerto.read(tmp_path / f"a{suffix}", columns=4)


@pytest.mark.parametrize("suffix", [s for s in FORMATS if s not in MESHES])
def test_points_is_only_for_meshes(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match=r"points= is for \.obj, .*, not for"):
        concerto.read(tmp_path / f"a{suffix}", points=4)


@pytest.mark.parametrize(
    ("suffix", "module"),
    [(".pcd", "pypcd4"), (".las", "laspy"), (".laz", "lazrs"), (".glb", "trimesh")],
)
def test_an_absent_library_names_the_extra(
    tmp_path: Path, suffix: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix in WRITERS:
        concerto.write(file, random_cloud(3))
    else:
        file.write_bytes(b"glTF")
    for name in [n for n in sys.modules if n.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'pip install "concerto-3d\[io\]"'):
        concerto.read(file)


def test_importing_the_library_imports_none_of_them() -> None:
    code = (
        "import sys, concerto; print(*{'laspy', 'lazrs', 'pypcd4', 'trimesh'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_a_doubtful_colour_is_settled_by_color_range(tmp_path: Path) -> None:
    table = np.zeros((3, 6))
    table[:, 3:] = 1000
    np.save(tmp_path / "a.npy", table)
    with pytest.raises(InputError, match=r"a\.npy: color lies in .*color_range=\(0, 65535\)"):
        concerto.read(tmp_path / "a.npy")
    cloud = concerto.read(tmp_path / "a.npy", color_range=(0, 2000))
    assert cloud.color.unique().tolist() == [0.5]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scan.npz"
    concerto.write(file, random_cloud(10))
    before = file.read_bytes()

    def fails(stream: BinaryIO, **_: object) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fails)
    with pytest.raises(InputError, match="No space left"):
        concerto.write(file, random_cloud(10))
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scan.npz"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"):
        concerto.write(tmp_path / "file" / "scan.ply", random_cloud(3))


def test_a_folder_is_its_scans(tmp_path: Path) -> None:
    names = ["b.ply", "deep/er/a.LAZ", "deep/z.bin", "mesh.glb"]
    for name in [*names, "pose.txt", "labels.npy", "notes.md", ".cache/x.ply", ".half.ply"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert find_scans(tmp_path) == [tmp_path / name for name in names]


def test_a_file_is_its_own_scan_and_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pose.txt").write_text("")
    assert find_scans(tmp_path / "pose.txt") == [tmp_path / "pose.txt"]
    with pytest.raises(InputError, match=r"There is no scan in the folder .* named one by one"):
        find_scans(tmp_path)
    with pytest.raises(InputError, match="There is no file or folder"):
        find_scans(tmp_path / "none")


def test_every_shared_scan_is_read(shared: Path) -> None:
    counts = {file.name: len(concerto.read(file)) for file in find_scans(shared / "data" / "scans")}
    assert counts["kitti_000008.bin"] == 17_238
    assert counts["scannet_scene0000_00.ply"] == 40_684
