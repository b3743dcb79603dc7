"""Videos that are damaged: what can be read of them is, and what is lost keeps its number."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import concerto
from concerto.errors import ConcertoWarning, InputError
from concerto.lifting.video_file import decoded
from recordings import CAMERA, frames

av = pytest.importorskip("av")
FRAMES = frames()
# Key frames are so many images apart.
GROUP, DAMAGED = 3, 4


@pytest.fixture
def film(tmp_path: Path) -> Path:
    file = tmp_path / "film.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 192, 144, "yuv420p", GROUP
        for frame in FRAMES:
            large = frame.color.repeat(2, 0).repeat(2, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")))
        container.mux(stream.encode())
    return file


@pytest.fixture
def damaged(film: Path) -> Path:
    """The same, with the bytes of one image overwritten."""
    with av.open(str(film)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    packets.sort(key=lambda packet: packet.pts)
    content = bytearray(film.read_bytes())
    packet = packets[DAMAGED]
    content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    film.write_bytes(content)
    return film


def test_an_image_that_cannot_be_decoded_is_named_and_costs_those_that_build_on_it(
    damaged: Path,
) -> None:
    images = list(decoded(damaged))
    assert len(images) == len(FRAMES)
    lost = [number for number, image in enumerate(images) if isinstance(image, InputError)]
    assert lost == [4, 5]
    assert re.search("frame 4 of .* cannot be decoded", str(images[4]))
    assert "one before it is lost" in str(images[5])
    for number in set(range(len(FRAMES))) - set(lost):
        off = np.abs(images[number][::2, ::2].astype(int) - FRAMES[number].color)
        assert np.median(off) <= 4


def test_what_follows_on_a_lost_image_keeps_its_depth_and_pose(damaged: Path) -> None:
    depths, poses = [frame.depth for frame in FRAMES], [frame.pose for frame in FRAMES]
    camera = CAMERA.resized((72, 96), (144, 192))
    with pytest.raises(InputError, match=r"frame 4 of .*skip_bad=True"):
        concerto.lift(damaged, depths, camera, poses)
    with pytest.warns(ConcertoWarning, match="2 frames are left out. frame 4 of"):
        cloud = concerto.lift(damaged, depths, camera, poses, skip_bad=True)
    kept = [0, 1, 2, 3, 6, 7]
    assert cloud.names == tuple(f"frame {number}" for number in kept)
    colors = [FRAMES[n].color.repeat(2, 0).repeat(2, 1) for n in kept]
    wanted = concerto.lift(colors, [depths[n] for n in kept], camera, [poses[n] for n in kept])
    torch.testing.assert_close(cloud.coord, wanted.coord)
    assert (cloud.color - wanted.color).abs().median() < 0.02


def test_a_video_that_cannot_be_opened_is_told_at_once_and_without_advice(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name, reason in (("empty", "Cannot read the video"), ("gone", "There is no video")):
        with pytest.raises(InputError, match=reason) as raised:
            concerto.lift(tmp_path / f"{name}.mp4", [], CAMERA, [], skip_bad=True)
        assert "skip_bad" not in str(raised.value)
