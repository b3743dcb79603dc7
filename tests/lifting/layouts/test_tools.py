"""Recordings of other tools: the frames they were made from come back."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tool_recordings import (
    WRITERS,
    write_arkitscenes,
    write_colmap_binary,
    write_colmap_text,
    write_nerfstudio,
    write_record3d,
)

import concerto
from command import run_here
from concerto.errors import ConcertoWarning, InputError
from concerto.lifting.layouts import find_recordings, open_recording
from concerto.lifting.layouts.colmap import read_depth_map
from concerto.lifting.layouts.nerfstudio import PINHOLES
from recordings import CAMERA, frames

FRAMES = frames()
Write = Callable[[Path], Path]


@pytest.mark.parametrize("write", WRITERS)
def test_every_tool_gives_the_frames_that_were_recorded(write: Write, tmp_path: Path) -> None:
    folder = write(tmp_path / "room")
    assert find_recordings(tmp_path) == [folder]
    recording = open_recording(folder)
    assert recording.metric == (write not in (write_colmap_text, write_colmap_binary))
    assert len(recording.frames) == len(FRAMES)
    for files, wanted in zip(recording.frames, FRAMES, strict=True):
        frame = recording.read(files)
        np.testing.assert_allclose(frame.pose, wanted.pose, atol=1e-6)
        np.testing.assert_allclose(frame.depth, wanted.depth, atol=6e-4)
        np.testing.assert_allclose(frame.camera.values, CAMERA.values, atol=1e-6)
        np.testing.assert_allclose(frame.depth_camera.values, CAMERA.values, atol=1e-6)
        assert (frame.color == wanted.color).all()


@pytest.mark.parametrize("write", [write_colmap_text, write_record3d])
def test_a_depth_scale_is_refused_where_depths_have_no_steps(write: Write, tmp_path: Path) -> None:
    folder = write(tmp_path / "room")
    with pytest.raises(InputError, match=r"room holds no 16-bit depth .*depth_scale=5000"):
        concerto.lift(folder, depth_scale=5000)
    with pytest.raises(InputError, match=r"A geometry finds depths .*no depth_scale"):
        concerto.lift(folder, geometry=lambda *given: None, depth_scale=5000)


def test_record3ds_cameras_and_poses_must_be_as_many(tmp_path: Path) -> None:
    folder = write_record3d(tmp_path / "room")
    content = json.loads((folder / "metadata").read_text())
    cameras = [[*CAMERA.values, 96, 72]] * (len(FRAMES) - 1)
    content["perFrameIntrinsicCoeffs"] = cameras
    (folder / "metadata").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"metadata tells 7 cameras .* and 8 poses"):
        open_recording(folder)


def test_record3ds_confidence_weighs(tmp_path: Path) -> None:
    folder = write_record3d(tmp_path / "room")
    import liblzfse

    levels = np.repeat(np.arange(3, dtype=np.uint8), 24 * 96)
    (folder / "rgbd" / "0.conf").write_bytes(liblzfse.compress(levels.tobytes()))
    recording = open_recording(folder)
    confidence = recording.read(recording.frames[0]).confidence
    assert [float(confidence[row, 0]) for row in (0, 24, 48)] == [0, 0.5, 1]


def test_images_of_one_name_in_two_folders_are_two_frames(tmp_path: Path) -> None:
    file = write_nerfstudio(tmp_path / "room") / "transforms.json"
    content = json.loads(file.read_text())
    for side, frame in zip(("left", "right"), content["frames"], strict=False):
        (tmp_path / "room" / side).mkdir()
        (tmp_path / "room" / frame["file_path"]).rename(tmp_path / "room" / side / "0001.png")
        frame["file_path"] = f"./{side}/0001.png"
    file.write_text(json.dumps(content | {"frames": content["frames"][:2]}))
    both = concerto.lift(tmp_path / "room")
    assert both.names == ("room/left/0001.png", "room/right/0001.png")
    first = concerto.lift(tmp_path / "room", keyframes=concerto.Keyframes(99, 360), seen=True)
    assert len(first.visible) == len(first.names) == 1


def test_a_reconstruction_of_unknown_scale_is_lifted_to_a_room(tmp_path: Path) -> None:
    cloud = concerto.lift(write_colmap_binary(tmp_path / "room"))
    assert cloud.alignment.scale != 1
    assert float(cloud.coord[:, 2].max()) == pytest.approx(3, abs=0.2)


def test_on_the_command_line_too_a_scene_of_unknown_scale_becomes_a_room(tmp_path: Path) -> None:
    folder = write_colmap_text(tmp_path / "room")
    process = run_here("lift", folder, "-o", tmp_path / "cloud.ply")
    assert "floor at 0" in process.stdout
    assert "to a height of 3 m" in process.stdout


def test_depths_in_metres_and_poses_that_are_not_are_told_apart(tmp_path: Path) -> None:
    def metres(images: object, intrinsics: list, poses: list) -> concerto.Views:
        return concerto.Views([frame.depth for frame in FRAMES], intrinsics, poses)

    with pytest.warns(ConcertoWarning, match="poses are of unknown scale"):
        concerto.lift(write_colmap_text(tmp_path / "room"), geometry=metres)


def test_without_depth_a_recording_asks_for_a_model(tmp_path: Path) -> None:
    folder = write_colmap_text(tmp_path / "room")
    for file in (folder / "stereo" / "depth_maps").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"without depth.*DepthModel"):
        concerto.lift(folder)


def test_a_lens_that_bends_is_refused_and_a_nearly_straight_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"moves a corner.*Undistort"):
        open_recording(write_nerfstudio(tmp_path / "bent", k1=0.2))
    open_recording(write_nerfstudio(tmp_path / "straight", k1=0.01))
    folder = write_colmap_text(tmp_path / "fish")
    cameras = folder / "sparse" / "cameras.txt"
    cameras.write_text(cameras.read_text().replace("PINHOLE", "FULL_OPENCV"))
    with pytest.raises(InputError, match=r"FULL_OPENCV.*image_undistorter"):
        open_recording(folder)


@pytest.mark.parametrize("model", ["OPENCV_FISHEYE", "EQUIRECTANGULAR"])
def test_a_camera_of_another_projection_is_refused(model: str, tmp_path: Path) -> None:
    folder = write_nerfstudio(tmp_path / "room", camera_model=model)
    with pytest.raises(InputError, match=rf"0\.png: its camera_model is {model}.*Undistort"):
        open_recording(folder)
    file = write_nerfstudio(tmp_path / "mixed", camera_model="OPENCV") / "transforms.json"
    content = json.loads(file.read_text())
    content["frames"][3]["camera_model"] = model
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"3\.png: its camera_model is {model}"):
        open_recording(file.parent)


def test_a_fisheye_of_instant_ngp_is_refused(tmp_path: Path) -> None:
    folder = write_nerfstudio(tmp_path / "room", is_fisheye=True)
    with pytest.raises(InputError, match=r"0\.png: its camera_model is OPENCV_FISHEYE"):
        open_recording(folder)


@pytest.mark.parametrize("model", PINHOLES)
def test_a_camera_that_is_named_a_pinhole_is_one(model: str, tmp_path: Path) -> None:
    assert open_recording(write_nerfstudio(tmp_path / "room", camera_model=model)).frames


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"depth_unit_scale_factor": 0}, "depth_unit_scale_factor is 0; expected the metres"),
        ({"depth_unit_scale_factor": -1}, "depth_unit_scale_factor is -1"),
        ({"depth_unit_scale_factor": float("inf")}, "depth_unit_scale_factor is inf"),
        ({"depth_unit_scale_factor": float("nan")}, "depth_unit_scale_factor is nan"),
        ({"depth_unit_scale_factor": 10**400}, "no list of frames as nerfstudio writes it"),
        ({"w": float("inf")}, r"0\.png: w, h and k1 to k4 .*\[inf, 72.*finite"),
        ({"k1": float("nan")}, r"0\.png: w, h and k1 to k4 .*nan.*finite"),
    ],
)
def test_numbers_that_no_camera_has_are_told(values: dict, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        open_recording(write_nerfstudio(tmp_path / "room", **values))


@pytest.mark.parametrize(
    ("write", "file", "content", "reason"),
    [
        (write_nerfstudio, "transforms.json", "{", "no list of frames"),
        (write_nerfstudio, "transforms.json", "[]", "no list of frames"),
        (write_nerfstudio, "transforms.json", "[" * 10**5, "no list of frames"),
        (write_nerfstudio, "transforms.json", '{"frames": [{}]}', "does not tell 'file_path'"),
        (write_nerfstudio, "transforms.json", '{"frames": []}', "lists no frames"),
        (write_colmap_text, "sparse/cameras.txt", "1 PINHOLE 9", "no reconstruction"),
        (write_colmap_text, "sparse/images.txt", "1 2 3", "no reconstruction"),
        (write_colmap_binary, "sparse/0/cameras.bin", "\1\0", "no reconstruction"),
        (write_colmap_binary, "sparse/0/images.bin", "\1" + "\0" * 30, "no reconstruction"),
        (write_arkitscenes, "lowres_wide.traj", "1 2", "expected 7 columns"),
        (write_arkitscenes, "lowres_wide.traj", "a b c d e f g", "could not convert"),
        (write_record3d, "metadata", "{}", "not what Record3D writes"),
        (write_record3d, "metadata", "[" * 10**5, "not what Record3D writes"),
        (write_record3d, "rgbd/0.depth", "x", "holds 0 values|Cannot unpack"),
    ],
)
def test_a_damaged_file_is_named(
    write: Write, file: str, content: str, reason: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "room")
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=reason):
        concerto.lift(folder)


def test_a_depth_map_that_was_cut_short_is_told(tmp_path: Path) -> None:
    (tmp_path / "map.bin").write_bytes(b"96&72&1&123")
    with pytest.raises(InputError, match="no depth map of COLMAP"):
        read_depth_map(tmp_path / "map.bin")
