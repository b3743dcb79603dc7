"""A sample as it is stored, images still encoded: what every format is read into and made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concerto.io.pictures import decode_photo
from concerto.training.scenes.check_sample import check_sample
from concerto.training.scenes.samples import Sample

# Metres: the voxels that indoor models are trained with.
GRID_SIZE = 0.02
# Metres from the origin up to which float32 keeps a tenth of a millimetre; surveys go far beyond.
NEAR = 1000.0


@dataclass(frozen=True)
class EncodedSample:
    """A scene, or part of one, with images that see it.

    name: of the sample. scene: of the scene, which other samples may show too. coord, color,
    normal, seen, segment, instance: as in `Sample`. images: encoded, as JPEG or PNG.
    """

    name: str
    scene: str
    coord: np.ndarray
    color: np.ndarray
    normal: np.ndarray
    images: tuple[bytes, ...] = ()
    seen: tuple[np.ndarray, ...] = ()
    segment: np.ndarray | None = None
    instance: np.ndarray | None = None

    def check(self) -> None:
        """Raise InputError where no views can be made of the sample, as of data from elsewhere."""
        check_sample(self.decode(), GRID_SIZE, patches=1)

    def decode(self) -> Sample:
        """The sample with its images as arrays. Raises InputError where one cannot be decoded."""
        images = tuple(
            decode_photo(image, f"{number} of {self.name}")
            for number, image in enumerate(self.images)
        )
        return Sample(
            name=self.name,
            coord=self.coord,
            color=self.color,
            normal=self.normal,
            images=images,
            seen=self.seen,
            segment=self.segment,
            instance=self.instance,
        )


def near_origin(coord: np.ndarray) -> np.ndarray:
    """Coordinates (n, 3) as float32, moved by whole metres where they are too far out for it."""
    if coord.size and np.abs(coord).max() > NEAR:
        coord = coord - np.floor(coord.min(0))
    return coord.astype(np.float32)
