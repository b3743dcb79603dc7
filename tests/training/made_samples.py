"""Small samples of nothing, in every form that scenes are stored in."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from concerto.training.prepare.output import write_shards
from concerto.training.scenes.encoded import EncodedSample
from concerto.training.scenes.samples import Sample


def made(number: int, images: int = 2, points: int = 60) -> EncodedSample:
    """A sample that its number decides. Odd ones have an image that sees nothing."""
    random = np.random.default_rng(number)
    normal = random.normal(size=(points, 3))
    normal[::7] = 0
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    seen = [
        np.stack(
            [random.integers(0, 40, 20), random.integers(0, 30, 20), random.integers(0, points, 20)]
        ).T
        for _ in range(images)
    ]
    if number % 2 and images:
        seen[-1] = np.zeros((0, 3), np.int64)
    return EncodedSample(
        name=f"room_{number}",
        scene=f"room{number // 2}",
        coord=random.random((points, 3), dtype=np.float32) * 3,
        color=random.integers(0, 256, (points, 3), dtype=np.uint8),
        normal=np.float32(normal / np.where(length > 0, length, 1)),
        images=tuple(png(random.integers(0, 256, (30, 40, 3))) for _ in range(images)),
        seen=tuple(seen),
    )


def labelled(number: int, classes: int = 3, points: int = 60) -> EncodedSample:
    """A sample of `made` without images, with labels; every fifth point has none."""
    random = np.random.default_rng(number)
    segment = random.integers(0, classes, points).astype(np.int16)
    segment[::5] = -1
    instance = np.where(segment >= 0, random.integers(0, 9, points), -1).astype(np.int32)
    return replace(made(number, images=0, points=points), segment=segment, instance=instance)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_prepared(
    folder: Path,
    samples: list[EncodedSample],
    split: str = "train",
    classes: Sequence[str] = (),
) -> Path:
    """As `prepare` writes them, without a card."""
    (folder / split).mkdir(parents=True)
    write_shards(folder / split, samples, {"from": "nothing"}, classes)
    return folder


def write_published(
    folder: Path, samples: list[EncodedSample], working: str = "data/rooms", split: str = "train"
) -> Path:
    """The published layout; its list names paths from a working folder that is not `folder`."""
    entries = {}
    for sample in samples:
        points = folder / split / sample.name
        points.mkdir(parents=True)
        for part in ("coord", "color", "normal", "segment", "instance"):
            if getattr(sample, part) is not None:
                np.save(points / f"{part}.npy", getattr(sample, part))
        images, pairs = [], []
        for number, (image, seen) in enumerate(zip(sample.images, sample.seen, strict=True)):
            (points / f"{number}.png").write_bytes(image)
            np.save(points / f"{number}.npy", seen if len(seen) else -np.ones((1, 3), np.int64))
            images.append(f"{working}/{split}/{sample.name}/{number}.png")
            pairs.append(f"{working}/{split}/{sample.name}/{number}.npy")
        entries[sample.name] = {
            "pointclouds": f"{working}/{split}/{sample.name}",
            "images": images,
            "correspondences": pairs,
        }
    (folder / "splits").mkdir(exist_ok=True)
    (folder / "splits" / f"{split}.json").write_text(json.dumps(entries))
    return folder


def assert_same(given: Sample, wanted: Sample, degrees: float = 0.0) -> None:
    """Equal, but for normals that may be off by some degrees."""
    assert given.name == wanted.name
    for part in ("coord", "color"):
        np.testing.assert_array_equal(getattr(given, part), getattr(wanted, part))
        assert getattr(given, part).dtype == getattr(wanted, part).dtype
    assert given.normal.dtype == np.float32
    known = (wanted.normal != 0).any(1)
    np.testing.assert_array_equal((given.normal != 0).any(1), known)
    cosine = (given.normal * wanted.normal).sum(1)[known]
    assert (cosine >= np.cos(np.radians(degrees)) - 1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(given.normal[known], axis=1), 1, atol=1e-6)
    for part in ("segment", "instance"):
        np.testing.assert_array_equal(getattr(given, part), getattr(wanted, part))
    for one, other in zip(given.images, wanted.images, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(given.seen, wanted.seen, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.int64
