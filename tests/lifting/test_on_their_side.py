"""Films and photos that are stored on their side come as they are shown."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import concerto
from concerto.lifting.lift import images_again
from concerto.lifting.video_file import decoded, video_writer
from recordings import CAMERA, frames

FRAMES = frames()
UNTURNED = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
# Of the EXIF orientations, those that a camera gives when it is turned: how often to turn back, by
# 90° counter-clockwise.
ORIENTATIONS = [(1, 0), (3, 2), (6, 3), (8, 1)]


def film(file: Path, image: np.ndarray, right: tuple[int, int]) -> Path:
    """An MP4 whose matrix says to which side the image's right is to be shown: (right, down)."""
    pytest.importorskip("av")
    with video_writer(file, 10) as written:
        for _ in range(3):
            written.add(image)
    (x, y), one = right, 1 << 16
    turned = struct.pack(">9i", x * one, y * one, 0, -y * one, x * one, 0, 0, 0, 1 << 30)
    content = file.read_bytes()
    track = content.index(UNTURNED, content.index(b"tkhd"))
    file.write_bytes(content[:track] + turned + content[track + len(turned) :])
    return file


@pytest.mark.parametrize(("right", "turns"), [((1, 0), 0), ((0, -1), 1), ((-1, 0), 2), ((0, 1), 3)])
def test_a_film_comes_as_players_show_it(
    right: tuple[int, int], turns: int, tmp_path: Path
) -> None:
    shown = FRAMES[0].color.repeat(2, 0).repeat(2, 1)
    file = film(tmp_path / "phone.mp4", np.ascontiguousarray(np.rot90(shown, -turns)), right)
    for image in decoded(file):
        assert image.shape == shown.shape
        assert image.flags.c_contiguous
        assert np.median(np.abs(image.astype(int) - shown)) <= 4


def write_photos(folder: Path, orientation: int, turns: int) -> Path:
    """The room's images, stored on their side."""
    folder.mkdir()
    exif = Image.Exif()
    exif[0x112] = orientation
    for number, frame in enumerate(FRAMES):
        stored = np.ascontiguousarray(np.rot90(frame.color, -turns))
        Image.fromarray(stored).save(folder / f"{number}.png", exif=exif)
    return folder


class Known:
    """A geometry that knows the room, and keeps the images that it was shown."""

    def __call__(self, images: Any, intrinsics: Any, poses: Any) -> concerto.Views:
        self.images = images
        cameras, poses = [CAMERA] * len(FRAMES), [frame.pose for frame in FRAMES]
        return concerto.Views([frame.depth for frame in FRAMES], cameras, poses)


@pytest.mark.parametrize(("orientation", "turns"), ORIENTATIONS)
def test_photos_without_cameras_are_set_upright(
    orientation: int, turns: int, tmp_path: Path
) -> None:
    folder, geometry = write_photos(tmp_path / "photos", orientation, turns), Known()
    cloud = concerto.lift(folder, geometry=geometry)
    painted = list(images_again(folder, cloud, upright=True))
    for images in (geometry.images, painted):
        assert all((image == f.color).all() for image, f in zip(images, FRAMES, strict=True))


def test_photos_with_cameras_or_poses_stay_as_they_are_stored(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 3, 2)
    poses = [frame.pose for frame in FRAMES]
    for given in ({"intrinsics": CAMERA}, {"poses": poses}):
        geometry = Known()
        concerto.lift(folder, geometry=geometry, **given)
        assert (geometry.images[0] == np.rot90(FRAMES[0].color, 2)).all()
    fused = SimpleNamespace(names=["frame 0"])
    (image,) = images_again(folder, fused)
    assert (image == np.rot90(FRAMES[0].color, 2)).all()
