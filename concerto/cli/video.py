"""`concerto video`: a recording or a video → its frames beside what the model makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from concerto.cli.lifting import LiftOptions, describe
from concerto.cli.options import ModelOptions
from concerto.errors import InputError
from concerto.files import check_kept, check_writable
from concerto.lifting.projection import find_spacing, project
from concerto.lifting.video_file import check_video, video_writer
from concerto.visualize.pca import pca_colors


def video(
    source: Annotated[Path, tyro.conf.arg(metavar="FOLDER_OR_VIDEO")],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")],
    fps: float = 10.0,
    opacity: float = 0.75,
    lifting: tyro.conf.OmitArgPrefixes[LiftOptions] = LiftOptions(),
    model: tyro.conf.OmitArgPrefixes[ModelOptions] = ModelOptions(),
) -> None:
    """Paint the three main directions in which features vary over the frames of a video.

    The frames are lifted to a cloud, the model encodes it, and its features are seen again through
    each frame's camera. In the result a frame stands on the left, painted on the right.

    Args:
        source: A recording's folder, a video, or a folder of images.
        output: The video to write, such as out.mp4.
        fps: Frames a second.
        opacity: Of the paint, 0 to 1.
    """
    check_video(output, fps)
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity is {opacity:g}; expected 0 to 1.")
    check_writable(output.parent)
    check_kept(source, output)
    encoder = model.load()
    cloud = lifting.lift(source, model.place())
    print(describe(cloud))
    colors = pca_colors(model.encode(encoder, cloud)) * 255
    spacing = find_spacing(cloud.coord.numpy())
    images = lifting.images(source, cloud)
    bar = tqdm(
        zip(cloud.cameras, images, strict=True), "painting", len(cloud.cameras), unit="frame"
    )
    with video_writer(output, fps) as written:
        for camera, image in bar:
            paint = project(colors, cloud, camera, spacing=spacing).numpy()
            shown = (paint.any(2, keepdims=True)) * opacity
            painted = (image * (1 - shown) + paint * shown).astype(np.uint8)
            written.add(np.concatenate([image, painted], axis=1))
    print(output)
