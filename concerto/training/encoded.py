"""A sample as it is stored, images still encoded: what every format is read into and made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concerto.errors import InputError
from concerto.io.pictures import decode_photo, picture_size
from concerto.training.samples import Sample


@dataclass(frozen=True)
class EncodedSample:
    """A scene, or part of one, with images that see it.

    name: of the sample. scene: of the scene, which other samples may show too. coord, color,
    normal, seen: as in `Sample`. images: encoded, as JPEG or PNG.
    """

    name: str
    scene: str
    coord: np.ndarray
    color: np.ndarray
    normal: np.ndarray
    images: tuple[bytes, ...] = ()
    seen: tuple[np.ndarray, ...] = ()

    def check(self) -> None:
        """Raise InputError where the parts do not fit together. Images are known by headers."""
        sizes = [picture_size(image, self._image(k)) for k, image in enumerate(self.images)]
        self._check(sizes)

    def decode(self) -> Sample:
        """The sample with its images as arrays.

        Raises InputError where an image cannot be decoded, or the parts do not fit together.
        """
        images = tuple(decode_photo(image, self._image(k)) for k, image in enumerate(self.images))
        self._check([(image.shape[1], image.shape[0]) for image in images])
        return Sample(self.name, self.coord, self.color, self.normal, images, self.seen)

    def _image(self, number: int) -> str:
        return f"{self.name}, image {number}"

    def _check(self, sizes: list[tuple[int, int]]) -> None:
        points = len(self.coord)
        if not points:
            raise InputError(f"{self.name} has no points.")
        for part, array in (("coord", self.coord), ("color", self.color), ("normal", self.normal)):
            if array.shape != (points, 3):
                raise InputError(
                    f"{self.name}: {part} is of shape {array.shape}; expected ({points}, 3), as "
                    f"there are {points} points."
                )
        bad = int((~np.isfinite(self.coord).all(1)).sum())
        if bad:
            raise InputError(f"{self.name}: coord is NaN or infinite at {bad} of {points} points.")
        if len(self.seen) != len(sizes):
            raise InputError(
                f"{self.name} has {len(sizes)} images, but the points seen of {len(self.seen)}."
            )
        for number, (seen, size) in enumerate(zip(self.seen, sizes, strict=True)):
            if seen.ndim != 2 or seen.shape[1] != 3:
                raise InputError(
                    f"{self._image(number)}: the points seen are of shape {seen.shape}; expected "
                    "rows of x pixel, y pixel and point."
                )
            if len(seen) and ((seen < 0) | (seen >= [*size, points])).any():
                raise InputError(
                    f"{self._image(number)}: a point seen lies outside of the image of "
                    f"{size[0]} x {size[1]} pixels, or is none of the {points} points."
                )
