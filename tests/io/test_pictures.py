"""Photographs become RGB, depth images metres; what is neither is refused by name."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from concerto.errors import InputError
from concerto.io import pictures
from concerto.io.pictures import decode_photo, read_depth, read_photo

PIXELS = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)


def encoded(image: Image.Image, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_photo_of_any_mode_is_rgb(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    decoded = decode_photo(encoded(image), "it")
    np.testing.assert_array_equal(decoded, np.array(image.convert("RGB")))
    assert decoded.dtype == np.uint8


@pytest.mark.parametrize("invalid", [0, 65535])
def test_depth_is_in_metres_and_zero_where_unknown(invalid: int, tmp_path: Path) -> None:
    stored = np.array([[500, invalid], [2500, 65534]], np.uint16)
    Image.fromarray(stored).save(tmp_path / "depth.png")
    depth = read_depth(tmp_path / "depth.png", 1000)
    np.testing.assert_allclose(depth, [[0.5, 0], [2.5, 65.534]], rtol=1e-6)
    assert depth.dtype == np.float32


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5])
def test_a_photo_that_is_cut_off_is_named(share: float, format: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), format)
    file = tmp_path / "photo.png"
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"Cannot decode the image .*photo\.png"):
        read_photo(file)


def test_a_photo_too_large_for_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 11)
    with pytest.raises(InputError, match="4 x 3 pixels; at most 11"):
        decode_photo(encoded(Image.fromarray(PIXELS)), "it")


def test_a_grey_picture_of_eight_bits_is_no_depth(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "depth.png")
    with pytest.raises(InputError, match="8 bits"):
        read_depth(tmp_path / "depth.png", 1000)
