"""VGGT finds the geometry of plain images; here it is a module that knows what was recorded."""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

import concerto
from concerto.errors import InputError, MissingExtraError
from concerto.lifting.frame import Frame
from recordings import CAMERA, distance_to_room, frames

FRAMES = frames()


def pretend_vggt(monkeypatch: pytest.MonkeyPatch, recorded: list[Frame], height: int) -> None:
    """Modules as VGGT's package has them, which know what was recorded."""

    class Vggt(torch.nn.Module):
        @classmethod
        def from_pretrained(cls, weights: str) -> "Vggt":
            return cls()

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            assert images.shape == (len(recorded), 3, height, 518)
            assert 0 <= images.min() <= images.max() <= 1
            depth = torch.from_numpy(np.stack([frame.depth for frame in recorded]))[None] / 10
            depth = torch.nn.functional.interpolate(depth, (height, 518), mode="nearest-exact")
            return {"pose_enc": images, "depth": depth[..., None], "depth_conf": depth * 0 + 1}

    def decode(encoded: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        poses = np.stack([np.linalg.inv(frame.pose)[:3] for frame in recorded])
        poses[:, :, 3] /= 10
        camera = recorded[0].camera.resized(recorded[0].depth.shape, size)
        matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        intrinsics = np.tile(matrix, (len(recorded), 1, 1))
        return torch.from_numpy(poses)[None], torch.from_numpy(intrinsics)[None]

    models, poses = ModuleType("vggt.models.vggt"), ModuleType("vggt.utils.pose_enc")
    models.VGGT, poses.pose_encoding_to_extri_intri = Vggt, decode
    for module in (models, poses):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_vggt_lifts_plain_images_to_a_room(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_vggt(monkeypatch, FRAMES, 392)
    cloud = concerto.lift([frame.color for frame in FRAMES], geometry=concerto.VGGT())
    assert len(cloud.cameras) == len(FRAMES)
    assert cloud.alignment.scale == pytest.approx(10 * 3 / 2.22, rel=0.1)
    np.testing.assert_allclose(cloud.cameras[0].intrinsics.values, CAMERA.values, atol=1e-6)
    with pytest.raises(InputError, match="images of one size"):
        concerto.lift([FRAMES[0].color, FRAMES[1].color[:50]], geometry=concerto.VGGT())


@pytest.mark.parametrize(("rows", "height"), [(48, 252), (40, 210), (30, 168)])
def test_vggt_takes_wide_images(rows: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    part, camera = slice(20, 20 + rows), replace(CAMERA, cy=CAMERA.cy - 20)
    wide = [
        replace(f, color=f.color[part], depth=f.depth[part], camera=camera, depth_camera=camera)
        for f in FRAMES
    ]
    pretend_vggt(monkeypatch, wide, height)
    images = [frame.color for frame in wide]
    views = concerto.VGGT()(images, None, None)
    for depth, sure, frame in zip(views.depths, views.confidences, wide, strict=True):
        assert depth.shape == sure.shape
        seen = torch.nn.functional.interpolate(
            torch.from_numpy(depth)[None, None], (rows, 96), mode="nearest-exact"
        )
        np.testing.assert_allclose(10 * seen[0, 0], frame.depth, rtol=1e-6)
    cloud = concerto.lift(images, geometry=concerto.VGGT(), align="none", max_depth=1)
    assert distance_to_room(10 * cloud.coord.numpy()).max() < 0.1


def test_where_vggt_is_not_installed_it_is_said_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vggt", None)
    with pytest.raises(MissingExtraError, match="pip install git"):
        concerto.VGGT()
