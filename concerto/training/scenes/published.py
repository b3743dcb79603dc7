"""The published layout: folders of .npy files and images, listed by `splits/{split}.json`.

The list gives for each sample the folder of its points, its images, and for each image a file of
the points that it sees. Its paths are written as from the folder that someone trained in, such as
`data/scannet/train/scene0000_00`, and are found again below wherever the data lies now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from concerto.errors import InputError
from concerto.io.pictures import read_bytes
from concerto.training.scenes.encoded import EncodedSample, near_origin
from concerto.training.scenes.samples import Sample
from concerto.training.scenes.whole_numbers import whole_numbers


def splits_of(folder: Path) -> list[str]:
    """The splits that a folder of the published layout lists."""
    return sorted(file.stem for file in (folder / "splits").glob("*.json"))


class PublishedScenes:
    """The samples of one split, in the order of their list.

    Labels are counted from 0 in the order of their data set; the layout does not name them.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, folder: Path, split: str, images: bool = True) -> None:
        """images: as in `open_scenes`.

        Raises InputError where the split is not there, or its list cannot be read."""
        listing = folder / "splits" / f"{split}.json"
        if not listing.is_file():
            known = ", ".join(splits_of(folder)) or "none"
            raise InputError(f"{folder} has no split {split!r}. It has: {known}.")
        try:
            entries = json.loads(read_bytes(listing))
        except ValueError as error:
            raise InputError(f"{listing} is no JSON: {error}.") from error
        if not isinstance(entries, dict) or not entries:
            raise InputError(f"{listing} lists no samples; expected an object of them by name.")
        self.folder, self._listing, self._with_images = folder, listing, images
        self._names, self._entries = list(entries), list(entries.values())
        self._points = [self._points_of(name, entry) for name, entry in entries.items()]
        self._dropped = self._find_dropped()

    @cached_property
    def scenes(self) -> Sequence[str]:
        """The scene of each sample: the folder of its points, from where those of the others are.

        So of data/scannet/train/scene0000_00 it is the last, and of data/s3dis/Area_1/office_1 the
        last two, where there is another area.
        """
        paths = [PurePosixPath(points) for points in self._points]
        shared = 0
        for parts in zip(*{path.parent.parts for path in paths}, strict=False):
            if len(set(parts)) > 1:
                break
            shared += 1
        return ["/".join(path.parts[shared:]) for path in paths]

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        """A sample. Raises InputError where a file of it is missing or broken."""
        return self.encoded(index).decode()

    def segment(self, index: int) -> np.ndarray | None:
        """The labels of a sample. Raises InputError where their file is broken."""
        points = self._place(self._points[index], self._dropped)
        return _labels(points / "segment.npy", np.int16)

    def encoded(self, index: int) -> EncodedSample:
        """A sample with its images as they lie in their files.

        Raises InputError where a file of it is missing or broken.
        """
        name, entry = self._names[index], self._entries[index]
        images, pairs = (
            self._paths(name, entry, key) if self._with_images else []
            for key in ("images", "correspondences")
        )
        points = self._place(self._points[index], self._dropped)
        coord = near_origin(_load(points / "coord.npy"))
        normal = points / "normal.npy"
        return EncodedSample(
            name=name,
            scene=self.scenes[index],
            coord=coord,
            color=_bytes_of_color(_load(points / "color.npy")),
            normal=unit(_load(normal)) if normal.exists() else np.zeros_like(coord),
            images=tuple(read_bytes(self._place(path, self._dropped)) for path in images),
            seen=tuple(_seen(self._place(path, self._dropped)) for path in pairs),
            segment=self.segment(index),
            instance=_labels(points / "instance.npy", np.int32),
        )

    def _find_dropped(self) -> int:
        """How many leading parts of the listed paths lead to this folder, and are dropped.

        Raises InputError where none of the first samples' points are found.
        """
        listed = self._points[:20]
        for path in listed:
            for dropped in range(len(PurePosixPath(path).parts)):
                if self._place(path, dropped).is_dir():
                    return dropped
        raise InputError(
            f"{self._listing} lists {listed[0]}, and no such folder lies below {self.folder}, nor "
            "one without the first parts of that path. Pass the folder that holds splits/ and the "
            "data together."
        )

    def _place(self, path: str, dropped: int) -> Path:
        """Where a listed path lies. Raises InputError where it leads out of the folder."""
        parts = [part for part in PurePosixPath(path).parts if part != "/"][dropped:]
        if ".." in parts:
            raise InputError(f"{self._listing} lists {path}, which leads out of {self.folder}.")
        return self.folder.joinpath(*parts)

    def _points_of(self, name: str, entry: Any) -> str:
        points = entry.get("pointclouds") if isinstance(entry, dict) else None
        if not isinstance(points, str):
            raise InputError(f'{self._listing}: {name} has no folder under "pointclouds".')
        return points

    def _paths(self, name: str, entry: Any, key: str) -> list[str]:
        paths = entry.get(key, [])
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise InputError(f'{self._listing}: {name} has no list of paths under "{key}".')
        return paths


def unit(normal: np.ndarray) -> np.ndarray:
    """Normals (n, 3) float32 of unit length; zero where they are zero or not finite."""
    normal = np.nan_to_num(normal.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.asarray(normal / np.where(length > 0, length, 1))


def _seen(file: Path) -> np.ndarray:
    """(m, 3) int64 rows of x pixel, y pixel and point. A row of -1 says that nothing is seen."""
    rows = _load(file)
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise InputError(f"{file} is of shape {rows.shape}; expected rows of x, y and point.")
    rows = rows.astype(np.int64)
    return np.asarray(rows[rows[:, 2] >= 0])


def _labels(file: Path, dtype: type) -> np.ndarray | None:
    """(n,) labels; -1 where they are negative or NaN. None where there is no such file."""
    if not file.exists():
        return None
    labels = whole_numbers(_load(file), str(file))
    # ScanNet++ has three labels a vertex, (n, 3), of which the first is the major one.
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] else labels.reshape(-1)
    if labels.size and labels.max() > np.iinfo(dtype).max:
        raise InputError(f"{file} has label {labels.max()}; at most {np.iinfo(dtype).max} is kept.")
    # Unlabelled points are -1 in some releases and -100 in others.
    return np.asarray(np.where(labels < 0, -1, labels).astype(dtype))


def _bytes_of_color(color: np.ndarray) -> np.ndarray:
    """Colours 0-255, or 0-1 as fractions, as uint8."""
    if color.dtype == np.uint8:
        return color
    scale = 255 if color.dtype.kind == "f" and color.size and np.nanmax(color) <= 1 else 1
    return np.asarray((np.nan_to_num(color) * scale).round().clip(0, 255).astype(np.uint8))


def _load(file: Path) -> np.ndarray:
    """An array of numbers. Raises InputError where the file is missing or broken."""
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot read {file}: {reason}.") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise InputError(f"{file} holds no array of numbers.")
    return array
