"""A fused scene with its images → samples: the whole scene with each four of the images.

Images are taken one after another: so those of a sample see a part in common, and that is what the
principal view is cut around.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from concerto.points.point_cloud import PointCloud
from concerto.training.scenes.encoded import EncodedSample

IMAGES_PER_SAMPLE = 4


def scene_samples(
    name: str,
    cloud: PointCloud,
    turn: NDArray[np.float64],
    images: Sequence[bytes],
    seen: Sequence[NDArray[np.int32] | NDArray[np.int64]],
    segment: NDArray[np.int16] | None = None,
    instance: NDArray[np.int32] | None = None,
) -> list[EncodedSample]:
    """The samples of a scene, which share its points.

    cloud: of n points, with colours and normals. turn: (3, 3) the rotation that brings z up.
    images: encoded. seen, segment, instance: as in `Sample`, for all of the images.
    """
    assert cloud.color is not None
    assert cloud.normal is not None
    rotation = turn.T.astype(np.float32)
    coord, normal = cloud.coord.numpy() @ rotation, cloud.normal.numpy() @ rotation
    color = (cloud.color.numpy() * 255).round().astype(np.uint8)
    return [
        EncodedSample(
            name=f"{name}_{first // IMAGES_PER_SAMPLE}",
            scene=name,
            coord=coord,
            color=color,
            normal=normal,
            images=tuple(images[first : first + IMAGES_PER_SAMPLE]),
            seen=tuple(seen[first : first + IMAGES_PER_SAMPLE]),
            segment=segment,
            instance=instance,
        )
        for first in range(0, len(images), IMAGES_PER_SAMPLE)
    ]
