"""`concerto.lift`: whatever frames come as, one cloud; what cannot be used is named."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import concerto
from concerto import Frame, Keyframes, LiftedCloud, Views
from concerto.errors import ConcertoWarning, InputError
from recordings import CAMERA, distance_to_room, frames, turned, write_flat

FRAMES = frames()
COLORS = [frame.color for frame in FRAMES]
DEPTHS = [frame.depth for frame in FRAMES]
POSES = [frame.pose for frame in FRAMES]
SURE = [np.ones_like(depth) for depth in DEPTHS]
K = np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]])


def lifted(**options: object) -> LiftedCloud:
    given = {"frames": COLORS, "depths": DEPTHS, "intrinsics": K, "poses": POSES} | options
    return concerto.lift(**given)


WANTED = lifted()


def changed(values: list, number: int, value: object) -> list:
    return [*values[:number], value, *values[number + 1 :]]


def same(cloud: LiftedCloud, atol: float = 1e-4) -> None:
    assert len(cloud) == len(WANTED)
    torch.testing.assert_close(cloud.coord, WANTED.coord, atol=atol, rtol=0)
    torch.testing.assert_close(cloud.color, WANTED.color, atol=0.01, rtol=0)


@pytest.mark.parametrize("change", [{}, {"intrinsics": CAMERA.values}, {"frames": iter(COLORS)}])
def test_the_bar_ends_at_the_number_of_frames(
    change: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    lifted(progress=True, **change)
    assert f"{len(FRAMES)}/{len(FRAMES)}" in capsys.readouterr().err


def test_a_lifted_room_lies_where_it_was_and_is_a_point_cloud(model: concerto.Concerto) -> None:
    assert distance_to_room(WANTED.coord.numpy()).max() < 0.01
    assert WANTED.confidence.shape == (len(WANTED),)
    assert (WANTED.confidence > 0).all()
    assert model(WANTED).shape == (len(WANTED), model.feature_dim())
    for camera, pose in zip(WANTED.cameras, POSES, strict=True):
        np.testing.assert_array_equal(camera.pose, pose)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": np.stack(COLORS), "depths": torch.from_numpy(np.stack(DEPTHS))},
        {"frames": [color.astype(np.float32) / 255 for color in COLORS]},
        {"frames": [Image.fromarray(color) for color in COLORS]},
        {"intrinsics": CAMERA},
        {"intrinsics": CAMERA.values},
        {"intrinsics": [K] * len(FRAMES)},
        {"intrinsics": np.tile(CAMERA.values, (len(FRAMES), 1))},
        {"poses": [pose[:3] for pose in POSES]},
        {"poses": [np.linalg.inv(pose) for pose in POSES], "world_to_camera": True},
        {"depths": [depth[..., None] * 5000 for depth in DEPTHS], "depth_scale": 5000},
        {"frames": iter(COLORS), "poses": iter(POSES)},
    ],
)
def test_every_form_of_frames_depths_cameras_and_poses_gives_the_same(change: dict) -> None:
    same(lifted(**change))


def test_paths_of_images_and_a_file_of_poses_give_the_same(tmp_path: Path) -> None:
    folder = write_flat(tmp_path / "room", FRAMES)
    np.savetxt(tmp_path / "poses.txt", np.stack(POSES).reshape(-1, 16))
    cloud = lifted(
        frames=sorted(folder.glob("*.color.png")),
        depths=sorted(map(str, folder.glob("*.depth.png"))),
        poses=tmp_path / "poses.txt",
    )
    assert abs(len(cloud) - len(WANTED)) < 0.02 * len(WANTED)
    assert distance_to_room(cloud.coord.numpy()).max() < 0.02
    for others in (
        concerto.lift(folder),
        lifted(
            frames=sorted(folder.glob("*.color.png")),
            depths=sorted(folder.glob("*.depth.png")),
            intrinsics=folder / "intrinsics.txt",
            poses=sorted(folder.glob("*.pose.txt")),
        ),
    ):
        torch.testing.assert_close(others.coord, cloud.coord)


def test_depth_of_another_size_has_the_same_view() -> None:
    large = [color.repeat(2, 0).repeat(2, 1) for color in COLORS]
    camera = CAMERA.resized((72, 96), (144, 192))
    same(lifted(frames=large, intrinsics=camera))


def test_confidence_weighs_and_zero_leaves_out() -> None:
    none = [np.zeros_like(depth) for depth in DEPTHS]
    some = [*none[:4], *(np.ones_like(depth) for depth in DEPTHS[4:])]
    cloud = lifted(confidences=some)
    wanted = lifted(frames=COLORS[4:], depths=DEPTHS[4:], poses=POSES[4:])
    torch.testing.assert_close(cloud.coord, wanted.coord)
    doubled = lifted(confidences=[2 * np.ones_like(depth) for depth in DEPTHS])
    torch.testing.assert_close(doubled.confidence, 2 * WANTED.confidence)


def test_the_points_that_a_frame_sees_have_its_pixels_colours() -> None:
    cloud = lifted(seen=True)
    assert len(cloud.visible) == len(FRAMES)
    for seen, frame in zip(cloud.visible, FRAMES, strict=True):
        x, y, point = seen.T
        off = np.abs(frame.color[y, x] / 255 - cloud.color[point].numpy()).max(1)
        assert len(seen) > 1000
        assert np.mean(off < 0.05) > 0.9


@pytest.mark.parametrize("as_mask", [True, False])
def test_some_of_the_points_keep_their_confidence_and_who_saw_them(as_mask: bool) -> None:
    whole = lifted(seen=True)
    mask = whole.confidence > whole.confidence.median()
    cloud = whole[mask if as_mask else mask.nonzero()[:, 0]]
    assert (cloud.confidence == whole.confidence[mask]).all()
    assert cloud.names == whole.names
    assert cloud.cameras == whole.cameras
    for seen, before in zip(cloud.visible, whole.visible, strict=True):
        kept = before[mask.numpy()[before[:, 2]]]
        assert (seen[:, :2] == kept[:, :2]).all()
        assert (cloud.coord[seen[:, 2]] == whole.coord[kept[:, 2]]).all()
    assert cloud.to("cpu").confidence is not None
    assert cloud.to("cpu").visible is cloud.visible


def test_keyframes_are_those_from_where_the_camera_moved() -> None:
    still = [pose for pose in POSES for _ in range(3)]
    thrice = {"frames": COLORS, "depths": DEPTHS}
    thrice = {name: [v for v in values for _ in range(3)] for name, values in thrice.items()}
    cloud = lifted(poses=still, keyframes=Keyframes(), **thrice)
    assert cloud.names == tuple(f"frame {3 * number}" for number in range(len(FRAMES)))
    same(cloud)
    turning = Keyframes(distance=10, angle=20)
    kept = [turning.wants(pose) for pose in POSES]
    assert kept == [True] * len(POSES)
    with pytest.raises(InputError, match="at least 0"):
        Keyframes(distance=-1)


def test_a_frame_that_cannot_be_used_is_no_keyframe() -> None:
    thrice = {"frames": COLORS, "depths": DEPTHS, "poses": POSES}
    thrice = {name: [v for v in values for _ in range(3)] for name, values in thrice.items()}
    thrice["depths"][::3] = [depth * 1000 for depth in DEPTHS]
    with pytest.warns(ConcertoWarning, match="8 frames are left out"):
        cloud = lifted(keyframes=Keyframes(), skip_bad=True, **thrice)
    assert cloud.names == tuple(f"frame {3 * number + 1}" for number in range(len(FRAMES)))
    same(cloud)


def test_keyframes_begin_anew_with_every_video() -> None:
    keyframes = Keyframes()
    assert keyframes.wants(POSES[0])
    for _ in range(2):
        assert len(lifted(keyframes=keyframes).names) == len(FRAMES)
    assert not keyframes.wants(POSES[0])


def test_every_nth_frame_can_be_used() -> None:
    cloud = lifted(every=3)
    wanted = lifted(frames=COLORS[::3], depths=DEPTHS[::3], poses=POSES[::3])
    torch.testing.assert_close(cloud.coord, wanted.coord)
    for number in (0, -2, 1.5, "2", None, True):
        with pytest.raises(InputError, match=f"every is {number!r}; it must be a positive integer"):
            lifted(every=number)


ROTATION = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float64)
LYING = [turned(frame, ROTATION) for frame in FRAMES]


@pytest.mark.parametrize("stream", [False, True])
def test_a_lying_room_is_stood_upright(stream: bool) -> None:
    poses = [frame.pose for frame in LYING]
    cloud = lifted(poses=iter(poses) if stream else poses, align="up")
    assert cloud.alignment.scale == 1
    up = cloud.normal[:, 2].abs()
    assert ((up > 0.99) | (up < 0.1)).float().mean() > 0.85
    cameras = np.stack([camera.pose for camera in cloud.cameras])
    np.testing.assert_allclose(cameras[:, 2, 3], 1.5, atol=0.02)


def test_a_room_of_unknown_scale_becomes_three_metres_high_with_the_floor_at_zero() -> None:
    small = [replace(f, depth=f.depth / 50, pose=shrunk(f.pose, 50)) for f in LYING]
    cloud = concerto.lift(COLORS, geometry=Known(small))
    z = cloud.coord[:, 2].numpy()
    np.testing.assert_allclose(np.quantile(z, [0.01, 0.99]), [0, 3], atol=0.15)
    assert cloud.alignment.scale == pytest.approx(50 * 3 / seen_height(), rel=0.05)
    assert "scaled by" in str(cloud.alignment)
    assert "floor at 0" in str(cloud.alignment)
    # And the cameras came along: a picture of the room shows the room.
    seen = concerto.project(cloud.color, cloud, cloud.cameras[0])
    off = (seen.numpy() - COLORS[0] / 255).__abs__().max(2)
    assert np.mean(off < 0.05) > 0.9


def seen_height() -> float:
    """Of the walls: the ceiling is seen by no camera."""
    return float(np.quantile(WANTED.coord[:, 2], 0.995)) - 0.03


class Known:
    """A `Geometry` that knows the answer."""

    def __init__(
        self, answer: list[Frame], metric: bool = False, confidences: object = None
    ) -> None:
        self.answer, self.metric = [frame for frame in answer if frame is not None], metric
        self.confidences = confidences

    def __call__(self, images: object, intrinsics: object, poses: object) -> Views:
        return Views(
            [frame.depth for frame in self.answer],
            [frame.camera for frame in self.answer],
            [frame.pose for frame in self.answer],
            self.confidences,
            metric=self.metric,
        )


def shrunk(pose: np.ndarray, factor: float) -> np.ndarray:
    pose = pose.copy()
    pose[:3, 3] /= factor
    return pose


def test_a_geometry_in_metres_gives_what_depth_would() -> None:
    same(concerto.lift(iter(COLORS), geometry=Known(FRAMES, metric=True)))
    with pytest.raises(InputError, match="8 images came as 7 depths"):
        concerto.lift(COLORS, geometry=Known(FRAMES[:7]))
    with pytest.raises(InputError, match=r"8 images came as 8 depths, .*, 7 confidences"):
        concerto.lift(COLORS, geometry=Known(FRAMES, confidences=SURE[:7]))
    with pytest.raises(InputError, match="pass none beside it"):
        lifted(geometry=Known(FRAMES))
    with pytest.raises(InputError, match="counts differ: 8 frames, 7 poses"):
        concerto.lift(COLORS, poses=POSES[:7], geometry=Known(FRAMES))


@pytest.mark.parametrize("form", [list, np.stack])
def test_a_geometrys_confidences_weigh_in_any_form(form: Callable) -> None:
    confidences = form([*(0 * sure for sure in SURE[:4]), *SURE[4:]])
    cloud = concerto.lift(COLORS, geometry=Known(FRAMES, True, confidences))
    wanted = lifted(frames=COLORS[4:], depths=DEPTHS[4:], poses=POSES[4:])
    torch.testing.assert_close(cloud.coord, wanted.coord)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"frames": changed(COLORS, 3, "gone.png")}, "Cannot read gone.png"),
        ({"poses": changed(POSES, 3, 2 * POSES[3])}, "frame 3: .*determinant 8"),
        ({"poses": changed(POSES, 3, None)}, "frame 3 has no pose"),
        ({"frames": changed(COLORS, 3, COLORS[3][..., 0])}, r"frame 3: .*expected uint8"),
        (
            {"frames": changed(COLORS, 3, COLORS[3][::2, ::2]), "intrinsics": K},
            "frame 3: the image is 48 x 36, the first one's was 96 x 72",
        ),
    ],
)
def test_what_a_geometry_cannot_use_is_named_and_can_be_left_out(change: dict, reason: str) -> None:
    given = {"frames": COLORS, "poses": POSES, "geometry": Known(changed(FRAMES, 3, None), True)}
    with pytest.raises(InputError, match=f"{reason}.*skip_bad=True"):
        concerto.lift(**given | change)
    with pytest.warns(ConcertoWarning, match=f"1 frame is left out.*{reason}"):
        cloud = concerto.lift(**given | change, skip_bad=True)
    assert cloud.names == tuple(f"frame {number}" for number in (0, 1, 2, 4, 5, 6, 7))
    wanted = {"frames": COLORS, "depths": DEPTHS, "poses": POSES}
    wanted = {name: values[:3] + values[4:] for name, values in wanted.items()}
    torch.testing.assert_close(cloud.coord, lifted(**wanted).coord)
    with pytest.raises(InputError, match=r"no images to find the geometry of. The first: Cannot"):
        concerto.lift(["gone.png"], geometry=Known([]), skip_bad=True)


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_wrong_unit_is_told_too_where_a_room_is_scaled(skip_bad: bool) -> None:
    with pytest.raises(InputError, match=r"frame 0: half of the depths .*depth_scale=1000"):
        lifted(depths=[depth * 1000 for depth in DEPTHS], align="room", skip_bad=skip_bad)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"depths": DEPTHS[:7]}, "counts differ: 8 frames, 7 depths, 8 poses"),
        ({"depths": iter(DEPTHS[:7])}, "7 depths, but more frames, poses"),
        ({"depths": None, "poses": None}, "No depths, poses given"),
        ({"intrinsics": np.eye(2)}, r"intrinsics have shape \(2, 2\)"),
        ({"intrinsics": "wide"}, "Cannot read wide: No such file"),
        ({"intrinsics": {"fx": 1}}, "intrinsics is not of numbers"),
        ({"intrinsics": K.T}, "third row .* 1; .*transposed"),
        ({"intrinsics": [K.T] * 8}, "third row .* 1; .*transposed"),
        ({"depths": "depths/"}, "depths is depths/; expected a list"),
        ({"poses": 3}, "poses is int; expected a list"),
        ({"voxel_size": 1e-9}, "voxels of 1e-09 m"),
        ({"voxel_size": None}, "voxel_size is None; it must be a number over 0"),
        ({"max_depth": "far", "align": "room"}, "max_depth is 'far'; it must be a number over 0.1"),
        ({"frames": [], "depths": [], "poses": []}, "There are no frames"),
        ({"frames": "room.jpg"}, "no video"),
        ({"frames": 3}, "frames is int"),
        ({"depth_scale": -1}, "depth_scale is -1; it must be a positive number"),
        ({"depth_scale": "mm"}, "depth_scale is 'mm'; it must be a positive number"),
        ({"align": "down"}, "align is 'down'"),
        ({"frames": iter(COLORS), "seen": True}, "twice"),
        ({"frames": [color / 100 for color in COLORS]}, "0 to 1"),
    ],
)
def test_what_cannot_be_lifted_is_told(change: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        lifted(**change)


@pytest.mark.parametrize("align", ["rom", 5, ""])
@pytest.mark.parametrize("stream", [False, True])
def test_a_misspelt_align_is_told_whatever_frames_come_as(align: object, stream: bool) -> None:
    with pytest.raises(InputError, match=f"align is {align!r}; it must be"):
        lifted(frames=iter(COLORS) if stream else COLORS, align=align)


BAD = [
    ({"poses": changed(POSES, 3, 2 * POSES[3])}, "frame 3: .*determinant 8"),
    ({"poses": changed(POSES, 3, POSES[3] * np.nan)}, "frame 3: .*NaN"),
    ({"poses": changed(POSES, 3, np.eye(2))}, r"frame 3: .*\(2, 2\)"),
    ({"poses": changed(POSES, 3, [[1, 2], [3]])}, "frame 3: the pose is not of numbers"),
    ({"poses": changed(POSES, 3, "gone.txt")}, "Cannot read gone.txt: No such file or directory"),
    ({"depths": changed(DEPTHS, 3, np.zeros((0, 5), np.float32))}, "frame 3: .*depth 5 x 0; each"),
    ({"frames": changed(COLORS, 3, COLORS[3][:, :0])}, "frame 3: the image is 0 x 72, .*; each"),
    (
        {"depths": changed(DEPTHS, 3, torch.from_numpy(DEPTHS[3]).bfloat16())},
        r"frame 3: the depth \(torch.bfloat16\) cannot become an array: .*float32",
    ),
    ({"depths": changed(DEPTHS, 3, [[1, 2], [3]])}, r"frame 3: the depth \(list\) cannot become"),
    ({"depths": changed(DEPTHS, 3, np.array([["a"]]))}, "frame 3: the depth is <U1"),
    ({"confidences": changed(SURE, 3, "very")}, "frame 3: the confidence is not of numbers"),
    ({"frames": changed(COLORS, 3, COLORS[3].transpose(2, 0, 1))}, r"frame 3: .*expected .*H, W"),
    ({"depths": changed(DEPTHS, 3, DEPTHS[3] * 1000)}, "frame 3: .*depth_scale=1000"),
    ({"depths": changed(DEPTHS, 3, DEPTHS[3] * np.nan)}, "frame 3: .*NaN"),
    ({"depths": changed(DEPTHS, 3, DEPTHS[3] * 0 + 2)}, "frame 3: .*2 m everywhere"),
    ({"depths": changed(DEPTHS, 3, DEPTHS[3][:30])}, "frame 3: .*same view"),
    ({"frames": changed(COLORS, 3, COLORS[3].repeat(2, 0).repeat(2, 1))}, "frame 3: .*one size"),
    ({"frames": changed(COLORS, 3, None)}, "frame 3 has no frames"),
    ({"frames": changed(COLORS, 3, "gone.png")}, "Cannot read gone.png"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_a_bad_frame_is_named_and_can_be_left_out(change: dict, reason: str) -> None:
    with pytest.raises(InputError, match=f"{reason}.*skip_bad=True"):
        lifted(**change)
    with pytest.warns(ConcertoWarning, match="1 frame is left out"):
        cloud = lifted(skip_bad=True, **change)
    wanted = lifted(
        **{
            name: [v for number, v in enumerate(values) if number != 3]
            for name, values in (("frames", COLORS), ("depths", DEPTHS), ("poses", POSES))
        }
    )
    torch.testing.assert_close(cloud.coord, wanted.coord)
    assert len(cloud.left_out) == 1


def test_nothing_that_was_fused_is_lost_where_a_stream_breaks_off() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from COLORS[:5]
        raise InputError("the cable was pulled")

    with pytest.warns(ConcertoWarning, match="the cable was pulled"):
        cloud = lifted(frames=broken(), depths=iter(DEPTHS), poses=iter(POSES), skip_bad=True)
    wanted = lifted(frames=COLORS[:5], depths=DEPTHS[:5], poses=POSES[:5])
    torch.testing.assert_close(cloud.coord, wanted.coord)


def test_where_no_frame_can_be_used_the_first_reason_is_told() -> None:
    with pytest.raises(InputError, match=r"No frame can be used\. The first: frame 0: "):
        lifted(depths=[depth * 0 for depth in DEPTHS], skip_bad=True)
