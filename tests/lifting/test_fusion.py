"""Frames fused to a cloud lie on what was recorded, whatever their order and number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from concerto.errors import InputError
from concerto.lifting import fusion
from concerto.lifting.frame import Frame
from concerto.lifting.fusion import Lifter
from concerto.lifting.layouts import open_recording
from concerto.lifting.surface import noise
from concerto.points.point_cloud import PointCloud
from recordings import COLORS, PILLAR_COLOR, ROOM, VIEWS, distance_to_room, frames, record

FRAMES = frames()


def lifted(recorded: list[Frame], **options: float) -> PointCloud:
    lifter = Lifter(**options)
    for frame in recorded:
        lifter.add(frame)
    return lifter.cloud()


def test_a_recorded_room_lies_where_it_was_with_its_colours_and_normals() -> None:
    cloud = lifted(FRAMES)
    coord = cloud.coord.numpy()
    assert len(cloud) > 20_000
    assert distance_to_room(coord).max() < 0.01  # where a voxel holds two sides
    # Away from edges a point has the colour of its side, and its normal faces into the room.
    sides = np.abs(coord[:, None] - ROOM).reshape(len(coord), 6)
    alone = np.sort(sides, axis=1)[:, 1] > 0.3
    side = sides.argmin(1)
    clear = alone & (sides.min(1) < 0.01)
    inwards = np.concatenate([np.eye(3), -np.eye(3)])
    assert clear.sum() > 10_000
    np.testing.assert_allclose(cloud.color[clear], COLORS[side[clear]] / 255, atol=0.01)
    facing = (cloud.normal.numpy() * inwards[side])[clear].sum(1)
    assert np.mean(facing > np.cos(np.radians(5))) > 0.9
    assert facing.min() > 0
    pillar = np.abs(cloud.color.numpy() - PILLAR_COLOR / 255).max(1) < 0.01
    assert (distance_to_room(coord[pillar]) < 0.01).all()
    assert pillar.sum() > 300


def test_there_is_one_point_a_voxel() -> None:
    coord = lifted(FRAMES, voxel_size=0.1).coord.numpy()
    cells = np.floor(coord / 0.1 + 1e-4)
    assert len(np.unique(cells, axis=0)) > 0.99 * len(coord)


def test_the_order_of_frames_does_not_matter() -> None:
    one, other = lifted(FRAMES), lifted(FRAMES[::-1])
    torch.testing.assert_close(one.coord, other.coord, atol=1e-5, rtol=0)
    torch.testing.assert_close(one.color, other.color, atol=1e-4, rtol=0)


def test_merging_often_or_once_gives_the_same_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    once = lifted(FRAMES)
    monkeypatch.setattr(fusion, "QUEUE", 0)
    often = lifted(FRAMES)
    torch.testing.assert_close(once.coord, often.coord, atol=1e-5, rtol=0)
    torch.testing.assert_close(once.normal, often.normal, atol=1e-3, rtol=0)


def test_memory_grows_with_the_map_and_not_with_the_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fusion, "QUEUE", 10_000)
    lifter = Lifter()
    held = []
    for _ in range(30):
        lifter.add(FRAMES[0])
        held.append(len(lifter._map[0]) + sum(len(keys) for keys, _ in lifter._queue))
    assert max(held) <= 10_000 + 2 * len(lifter.cloud())


def test_a_surer_measurement_weighs_more() -> None:
    near = replace(FRAMES[0], depth=FRAMES[0].depth)
    black = replace(near, color=np.zeros_like(near.color))
    back = near.pose.copy()
    back[:3, 3] -= near.pose[:3, 2]
    far = replace(black, pose=back, depth=near.depth + 1)
    pixel = (36, 10)
    z = near.depth[pixel]
    place = near.pose[:3, :3] @ [(10 - 47.5) / 70 * z, 0.5 / 70 * z, z] + near.pose[:3, 3]
    alone = lifted([near])
    both = lifted([near, black])
    at = int((alone.coord - torch.tensor(place)).norm(dim=1).argmin())
    at_both = int((both.coord - torch.tensor(place)).norm(dim=1).argmin())
    torch.testing.assert_close(both.color[at_both], alone.color[at] / 2)
    assert noise(np.float32(z + 1)) > noise(np.float32(z))
    with_far = lifted([near, far])
    at_far = int((with_far.coord - torch.tensor(place)).norm(dim=1).argmin())
    assert (with_far.color[at_far] >= both.color[at_both]).all()


def test_nothing_to_make_a_cloud_of_is_said() -> None:
    with pytest.raises(InputError, match="no frame was added"):
        Lifter().cloud()
    jumping = 1 + np.indices(FRAMES[0].depth.shape).sum(0) % 2
    lifter = Lifter()
    lifter.add(replace(FRAMES[0], depth=jumping.astype(np.float32)))
    with pytest.raises(InputError, match=r"no pixel of the frame can be used\. .* jumps"):
        lifter.cloud()
    lifter.add(replace(FRAMES[0], confidence=0 * FRAMES[0].depth))
    with pytest.raises(InputError, match="no pixel of the 2 frames can be used"):
        lifter.cloud()


@pytest.mark.parametrize("factor", [1000, 1 / 1000])
def test_a_wrong_unit_of_depth_is_met_with_advice(factor: float) -> None:
    with pytest.raises(InputError, match=r"frame-0: .*depth_scale=1000"):
        Lifter().add(replace(FRAMES[0], depth=FRAMES[0].depth * np.float32(factor)))


def test_depth_without_confidence_does_not_count_for_its_unit() -> None:
    far = FRAMES[0].depth > np.quantile(FRAMES[0].depth, 0.3)
    wild = np.where(far, np.float32(50), FRAMES[0].depth)
    frame = replace(FRAMES[0], depth=wild, confidence=(~far).astype(np.float32))
    assert len(lifted([frame])) > 100
    with pytest.raises(InputError, match="frame-0: half of the depths are over 50 m"):
        lifted([replace(frame, confidence=None)])
    unsure = replace(frame, confidence=far.astype(np.float32))
    with pytest.raises(InputError, match="frame-0: half of the depths are over 50 m"):
        lifted([unsure])


def test_a_frame_that_is_refused_leaves_the_map_as_it_was() -> None:
    lifter = Lifter()
    lifter.add(FRAMES[0])
    pose = FRAMES[1].pose.copy()
    pose[0, 3] = 1e6
    with pytest.raises(InputError, match="origin"):
        lifter.add(replace(FRAMES[1], pose=pose))
    torch.testing.assert_close(lifter.cloud().coord, lifted(FRAMES[:1]).coord)


@pytest.mark.parametrize(
    "options",
    [{"voxel_size": 0.0}, {"max_depth": -1.0}, {"voxel_size": None}, {"max_depth": "far"}],
)
def test_options_without_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        Lifter(**options)


def test_colours_come_from_a_camera_of_another_size() -> None:
    frame = record(VIEWS[0])
    camera = replace(frame.camera, fx=140, fy=140, cx=95.5, cy=71.5)
    large = replace(frame, color=frame.color.repeat(2, 0).repeat(2, 1), camera=camera)
    same = (lifted([large]).color - lifted([frame]).color).abs().max(1).values < 0.01
    # At edges half a pixel makes a difference.
    assert same.float().mean() > 0.97


def test_a_kitchen_explains_a_frame_that_was_held_out(shared: Path) -> None:
    recording = open_recording(shared / "data" / "kitchen")
    used, held_out = recording.frames[::4], recording.read(recording.frames[50])
    assert recording.frames[50] in recording.frames[2::4]
    cloud = lifted([recording.read(files) for files in used])
    one = lifted([held_out])
    near, _ = KDTree(cloud.coord.numpy()).query(one.coord.numpy())
    assert np.median(near) < 0.015
    assert np.mean(near < 0.05) > 0.9
