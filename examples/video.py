"""From frames to features and back: posed images with depth → a cloud → features → pixels.

    python examples/video.py FOLDER out.png [MODEL]

FOLDER holds a recording, such as `python -m concerto.training.prepare rooms scenes/ --scenes 1
--frames frames/` renders. The picture shows three of its frames, and below each what the model
makes of it: places alike in their features are alike in colour.
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

import concerto

COLUMNS = 3


def main(folder: str, output: str, name: str = "concerto-tiny") -> None:
    # Fused as a stream: memory grows with the room, not with the video. z up, as models expect.
    cloud = concerto.lift(folder, align="up", progress=True)
    print(f"{len(cloud)} points of {len(cloud.cameras)} frames, {cloud.alignment}")

    model = concerto.from_pretrained(name)
    features = model.encode(cloud, progress=True)
    colors = concerto.pca_colors(features)

    # Features themselves can be seen too: concerto.project(features, cloud, camera) is (H, W, C).
    columns = []
    for camera in cloud.cameras[:: max(1, len(cloud.cameras) // COLUMNS)][:COLUMNS]:
        photo, painted = (
            concerto.project(values, cloud, camera).numpy() for values in (cloud.color, colors)
        )
        columns.append(np.concatenate([photo, painted]))
    picture = (np.concatenate(columns, axis=1) * 255).astype(np.uint8)
    Image.fromarray(picture).resize((picture.shape[1] // 2, picture.shape[0] // 2)).save(output)
    print(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
